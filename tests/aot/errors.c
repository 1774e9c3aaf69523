/* Calls the functions of the model `net`, whose weights are in a file, with arguments that they must refuse. */
#include "net.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failures;

static void expect(const char *what, int found, int expected) {
    if (found != expected) {
        printf("%s: %d instead of %d\n", what, found, expected);
        failures++;
    }
}

static void on_this_thread(void *user, size_t tasks, net_work work, void *task) {
    (void)user;
    work(task, 0, 0, tasks);
}

int main(int argc, char **argv) {
    size_t size = net_weights_bytes();
    char *weights = aligned_alloc(64, (size / 64 + 2) * 64);
    FILE *file = argc > 1 ? fopen(argv[1], "rb") : NULL;
    if (!file || fread(weights, 1, size, file) != size)
        return 2;

    net_context context = {{0, 0}};
    static float data[1 << 16];
    const float *inputs[NET_INPUT_COUNT] = {data};
    float *outputs[NET_OUTPUT_COUNT];
    for (int i = 0; i < NET_OUTPUT_COUNT; i++)
        outputs[i] = data;
    char *memory = aligned_alloc(64, net_memory_bytes(1, 1) + 64);

    expect("run before init", net_run(&context, memory, 1, inputs, outputs), NET_ERROR_CONTEXT);
    expect("no weights", net_init(&context, NULL, size), NET_ERROR_WEIGHTS_SIZE);
    expect("short weights", net_init(&context, weights, size - 1), NET_ERROR_WEIGHTS_SIZE);
    expect("misaligned weights", net_init(&context, weights + 4, size), NET_ERROR_WEIGHTS_ALIGNMENT);
    int errors[] = {NET_ERROR_WEIGHTS_FORMAT, NET_ERROR_WEIGHTS_FORMAT, NET_ERROR_WEIGHTS_MODEL};
    for (int field = 0; field < 3; field++) {
        weights[8 * field] ^= 1;
        expect("a changed header", net_init(&context, weights, size), errors[field]);
        weights[8 * field] ^= 1;
    }
    expect("run after a failed init", net_run(&context, memory, 1, inputs, outputs), NET_ERROR_CONTEXT);
    expect("init", net_init(&context, weights, size), NET_OK);
    expect("no samples", net_run(&context, memory, 0, inputs, outputs), NET_ERROR_BATCH);
    expect("too many samples", net_run(&context, memory, SIZE_MAX, inputs, outputs), NET_ERROR_BATCH);
    expect("misaligned memory", net_run(&context, memory + 4, 1, inputs, outputs), NET_ERROR_MEMORY_ALIGNMENT);
    expect("no memory", net_run(&context, NULL, 1, inputs, outputs), NET_ERROR_MEMORY);
    for (size_t threads = 0; threads <= 1025; threads += 1025)
        expect("too few or too many threads",
            net_run_parallel(&context, memory, 1, inputs, outputs, threads, on_this_thread, NULL), NET_ERROR_THREADS);
    expect("memory for no samples", net_memory_bytes(0, 1) == SIZE_MAX, 1);
    expect("memory for no threads", net_memory_bytes(1, 0) == SIZE_MAX, 1);
    expect("memory for too many threads", net_memory_bytes(1, 1025) == SIZE_MAX, 1);
    expect("memory in whole lines", net_memory_bytes(3, 2) % NET_ALIGNMENT, 0);
    expect("an input that is not there", net_input_shape(NET_INPUT_COUNT) == NULL, 1);
    expect("its rank", (int)net_input_rank(NET_INPUT_COUNT), 0);
    expect("a name", strcmp(net_input_name(0), "x"), 0);
    expect("an unknown error", net_error_text(-1) == NULL && net_error_text(11) == NULL, 1);
    for (int code = 0; code <= NET_ERROR_MEMORY; code++)
        expect("an error's text", net_error_text(code) != NULL, 1);
    return failures != 0;
}
