/* Calls the functions of the model `net` with arguments that they must refuse: errors [WEIGHTS], the weight file of a
 * model that has one. */
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

/* Refuses all weights but those of the model, with which it makes the context ready. */
static void init_from_file(net_context *context, char *weights, size_t size) {
    expect("no weights", net_init(context, NULL, size), NET_ERROR_WEIGHTS_SIZE);
    expect("short weights", net_init(context, weights, size - 1), NET_ERROR_WEIGHTS_SIZE);
    expect("misaligned weights", net_init(context, weights + 4, size), NET_ERROR_WEIGHTS_ALIGNMENT);
    /* Magic, version, fingerprint, length, checksum; then the begin and the end of what the checksum is of. */
    size_t places[] = {0, 8, 16, 24, 32, 64, size - 64};
    int errors[] = {NET_ERROR_WEIGHTS_FORMAT, NET_ERROR_WEIGHTS_FORMAT, NET_ERROR_WEIGHTS_MODEL, NET_ERROR_WEIGHTS_SIZE,
        NET_ERROR_WEIGHTS_CHECKSUM, NET_ERROR_WEIGHTS_CHECKSUM, NET_ERROR_WEIGHTS_CHECKSUM};
    for (int i = 0; i < 7; i++) {
        weights[places[i]] ^= 1;
        expect("a changed bit", net_init(context, weights, size), errors[i]);
        weights[places[i]] ^= 1;
    }
    char *middle = weights + size / 2, kept[4];
    memcpy(kept, middle, 4);
    memcpy(middle, "four", 4);
    expect("four overwritten bytes", net_init(context, weights, size), NET_ERROR_WEIGHTS_CHECKSUM);
    memcpy(middle, kept, 4);
    expect("init", net_init(context, weights, size), NET_OK);
}

static void init_embedded(net_context *context) {
    static _Alignas(64) char weights[64];
    expect("weights that it has", net_init(context, weights, sizeof weights), NET_ERROR_WEIGHTS_EMBEDDED);
    expect("weights of no size", net_init(context, weights, 0), NET_ERROR_WEIGHTS_EMBEDDED);
    expect("a size without weights", net_init(context, NULL, 64), NET_ERROR_WEIGHTS_EMBEDDED);
    expect("init", net_init(context, NULL, 0), NET_OK);
}

int main(int argc, char **argv) {
    size_t size = net_weights_bytes();
    char *weights = aligned_alloc(64, (size / 64 + 2) * 64);
    FILE *file = argc > 1 ? fopen(argv[1], "rb") : NULL;
    if (size > 0 && (!file || fread(weights, 1, size, file) != size))
        return 2;

    net_context context = {{0, 0}};
    static float data[1 << 16];
    const float *inputs[NET_INPUT_COUNT] = {data};
    float *outputs[NET_OUTPUT_COUNT];
    for (int i = 0; i < NET_OUTPUT_COUNT; i++)
        outputs[i] = data;
    char *memory = aligned_alloc(64, net_memory_bytes(1, 1) + 64);

    expect("run before init", net_run(&context, memory, 1, inputs, outputs), NET_ERROR_CONTEXT);
    expect("init without a context", net_init(NULL, weights, size), NET_ERROR_NULL);
    if (size > 0) {
        expect("a failed init", net_init(&context, weights, size + 1), NET_ERROR_WEIGHTS_SIZE);
        expect("run after it", net_run(&context, memory, 1, inputs, outputs), NET_ERROR_CONTEXT);
        init_from_file(&context, weights, size);
    } else {
        init_embedded(&context);
    }

    expect("no context", net_run(NULL, memory, 1, inputs, outputs), NET_ERROR_NULL);
    expect("no inputs", net_run(&context, memory, 1, NULL, outputs), NET_ERROR_NULL);
    expect("no outputs", net_run(&context, memory, 1, inputs, NULL), NET_ERROR_NULL);
    const float *no_input[NET_INPUT_COUNT] = {NULL};
    expect("an input that is NULL", net_run(&context, memory, 1, no_input, outputs), NET_ERROR_NULL);
    outputs[NET_OUTPUT_COUNT - 1] = NULL;
    expect("an output that is NULL", net_run(&context, memory, 1, inputs, outputs), NET_ERROR_NULL);
    expect("on several threads",
        net_run_parallel(&context, memory, 1, inputs, outputs, 1, on_this_thread, NULL), NET_ERROR_NULL);
    outputs[NET_OUTPUT_COUNT - 1] = data;
    expect("no samples", net_run(&context, memory, 0, inputs, outputs), NET_ERROR_BATCH);
    expect("too many samples", net_run(&context, memory, SIZE_MAX, inputs, outputs), NET_ERROR_BATCH);
    expect("misaligned memory", net_run(&context, memory + 4, 1, inputs, outputs), NET_ERROR_MEMORY_ALIGNMENT);
    expect("no memory", net_run(&context, NULL, 1, inputs, outputs), NET_ERROR_MEMORY);
    expect("no parallel_for", net_run_parallel(&context, memory, 1, inputs, outputs, 1, NULL, NULL), NET_OK);
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
    const char *unknown = net_error_text(NET_ERROR_WEIGHTS_EMBEDDED + 1);
    expect("unknown errors", unknown == net_error_text(-1) && strcmp(unknown, "not a code of this model") == 0, 1);
    for (int code = 0; code <= NET_ERROR_WEIGHTS_EMBEDDED; code++)
        expect("an error's text", strlen(net_error_text(code)) > 5 && net_error_text(code) != unknown, 1);
    return failures != 0;
}
