/* A network that was compiled for several sizes: sizes SIZE BATCH INPUTS [WEIGHTS] runs `net` on raw values of its only
 * input, which has that size, and writes those of its outputs to standard output. One context serves all sizes. */
#include "net.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The functions of one size. */
struct size {
    const char *name;
    size_t (*memory_bytes)(size_t batch, size_t threads);
    const size_t *(*input_shape)(size_t index);
    const size_t *(*output_shape)(size_t index);
    int (*run)(const net_context *context, void *memory, size_t batch, const float *const inputs[],
        float *const outputs[]);
    int (*run_parallel)(const net_context *context, void *memory, size_t batch, const float *const inputs[],
        float *const outputs[], size_t threads, net_parallel_for parallel_for, void *user);
};

static const struct size SIZES[] = {
    {"17x13", net_memory_bytes, net_input_shape, net_output_shape, net_run, net_run_parallel},
    {"20x11", net_20x11_memory_bytes, net_20x11_input_shape, net_20x11_output_shape, net_20x11_run,
        net_20x11_run_parallel},
    {"8x30", net_8x30_memory_bytes, net_8x30_input_shape, net_8x30_output_shape, net_8x30_run, net_8x30_run_parallel},
};

static void fail(const char *what) {
    fprintf(stderr, "%s\n", what);
    exit(1);
}

static void *aligned(size_t bytes) {
    void *memory = aligned_alloc(NET_ALIGNMENT, (bytes / NET_ALIGNMENT + 1) * NET_ALIGNMENT);
    if (!memory)
        fail("out of memory");
    return memory;
}

static size_t elements(size_t rank, const size_t *shape, size_t batch) {
    size_t product = batch;
    for (size_t i = 1; i < rank; i++)
        product *= shape[i];
    return product;
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

int main(int argc, char **argv) {
    if (argc < 4)
        fail("usage: sizes SIZE BATCH INPUTS [WEIGHTS]");
    const struct size *size = NULL;
    for (size_t i = 0; i < sizeof SIZES / sizeof *SIZES; i++)
        if (strcmp(SIZES[i].name, argv[1]) == 0)
            size = &SIZES[i];
    if (!size)
        fail("the network was not compiled for this size");

    size_t batch = (size_t)atol(argv[2]), bytes, weights_bytes = 0;
    const float *input = read_file(argv[3], &bytes);
    void *weights = argc > 4 ? read_file(argv[4], &weights_bytes) : NULL;
    if (bytes != 4 * elements(net_input_rank(0), size->input_shape(0), batch))
        fail("the input has another size");
    net_context context;
    int error = net_init(&context, weights, weights_bytes);
    if (error)
        fail(net_error_text(error));

    float *outputs[NET_OUTPUT_COUNT];
    for (size_t i = 0; i < NET_OUTPUT_COUNT; i++)
        outputs[i] = aligned(4 * elements(net_output_rank(i), size->output_shape(i), batch));
    void *memory = aligned(size->memory_bytes(batch, 1));
    error = size->run(&context, memory, batch, &input, outputs);
    if (!error)
        error = size->run_parallel(&context, memory, batch, &input, outputs, 1, NULL, NULL);
    if (error)
        fail(net_error_text(error));
    for (size_t i = 0; i < NET_OUTPUT_COUNT; i++)
        fwrite(outputs[i], 4, elements(net_output_rank(i), size->output_shape(i), batch), stdout);
    return 0;
}
