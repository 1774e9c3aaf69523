/* Runs the model `net` for the tests: driver serial|parallel|own BATCH INPUTS [WEIGHTS]; `own` in the library's memory.
 * INPUTS holds the raw values of all inputs one after the other; the outputs go to standard output in the same way. The values
 * are bytes where the model says so. */
#include "net.h"

#include <fenv.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void fail(const char *what) {
    fprintf(stderr, "%s\n", what);
    exit(1);
}

static void *aligned(size_t bytes) {
    void *memory = aligned_alloc(NET_ALIGNMENT, (bytes / NET_ALIGNMENT + 1) * NET_ALIGNMENT);
    if (!memory)
        fail("out of memory");
    memset(memory, 0xff, bytes); /* NaNs: a run may not depend on what was there */
    return memory;
}

static size_t elements(size_t rank, const size_t *shape, size_t batch) {
    size_t product = batch;
    for (size_t i = 1; i < rank; i++)
        product *= shape[i];
    return product;
}

static size_t element(const net_quantisation *numbers) {
    return numbers ? 1 : sizeof(float);
}

static void *read_file(const char *path, size_t *bytes) {
    FILE *file = fopen(path, "rb");
    if (!file)
        fail("cannot open a file");
    fseek(file, 0, SEEK_END);
    *bytes = (size_t)ftell(file);
    rewind(file);
    void *memory = aligned(*bytes);
    if (fread(memory, 1, *bytes, file) != *bytes)
        fail("cannot read a file");
    fclose(file);
    return memory;
}

struct range {
    net_work work;
    void *task;
    size_t worker, begin, end;
};

static void *do_range(void *argument) {
    struct range *range = argument;
    range->work(range->task, range->worker, range->begin, range->end);
    return NULL;
}

/* Gives the last third of the tasks to another thread, as the third of three workers; counts its calls in *user. */
static void two_threads(void *user, size_t tasks, net_work work, void *task) {
    ++*(int *)user;
    size_t middle = tasks - tasks / 3;
    struct range range = {work, task, 2, middle, tasks};
    pthread_t thread;
    if (pthread_create(&thread, NULL, do_range, &range))
        fail("cannot start a thread");
    work(task, 0, 0, middle);
    pthread_join(thread, NULL);
}

int main(int argc, char **argv) {
    if (argc < 4)
        fail("usage: driver serial|parallel|own BATCH INPUTS [WEIGHTS]");
    size_t batch = (size_t)atol(argv[2]), bytes, weights_bytes = 0;
    const char *values = read_file(argv[3], &bytes);
    void *weights = argc > 4 ? read_file(argv[4], &weights_bytes) : NULL;

    net_context context;
    int error = net_init(&context, weights, weights_bytes);
    if (error)
        fail(net_error_text(error));

    const void *inputs[NET_INPUT_COUNT];
    void *outputs[NET_OUTPUT_COUNT];
    size_t output_bytes[NET_OUTPUT_COUNT] = {0};
    for (size_t i = 0; i < net_input_count(); i++) {
        inputs[i] = values;
        values += element(net_input_quantisation(i)) * elements(net_input_rank(i), net_input_shape(i), batch);
    }
    for (size_t i = 0; i < net_output_count(); i++) {
        output_bytes[i] = element(net_output_quantisation(i)) * elements(net_output_rank(i), net_output_shape(i), batch);
        outputs[i] = aligned(output_bytes[i]);
    }

    int parallel = strcmp(argv[1], "parallel") == 0, own = strcmp(argv[1], "own") == 0, splits = 0;
    size_t threads = parallel ? 3 : 1, memory_bytes = net_memory_bytes(batch, threads);
    if (memory_bytes == SIZE_MAX)
        fail("the model does not run this batch");
    void *memory = own ? NULL : aligned(memory_bytes);
    fesetround(FE_UPWARD); /* results do not depend on it */
    if (parallel)
        error = net_run_parallel(&context, memory, batch, (void *)inputs, (void *)outputs, threads, two_threads, &splits);
    else
        error = net_run(&context, memory, batch, (void *)inputs, (void *)outputs);
    if (error)
        fail(net_error_text(error));
    fprintf(stderr, "%d steps split\n", splits);

    volatile float tiny = 1e-40f;
    if (tiny * 1.0f == 0.0f || fegetround() != FE_UPWARD)
        fail("the floating-point mode was not restored");
    for (size_t i = 0; i < net_output_count(); i++)
        fwrite(outputs[i], 1, output_bytes[i], stdout);
    return 0;
}
