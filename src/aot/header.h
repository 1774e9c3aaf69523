/* @VERSION@
 *
 * A compiled network. It calls no other library, allocates nothing, and keeps no state but what the caller gives it.
 *
@PORTS@ *
 * Tensors are dense f32 arrays, row-major, samples one after the other: [batch, channels, spatial sizes...]. They need
 * the alignment of float only. Outputs must not overlap inputs, the arena or each other. Batch: @BATCH@.
 *
 * Threads: all functions may be called from any thread at any time. Runs may go on at the same time with the same
 * context if each has an arena and outputs of its own. Results have the same bits for any number of threads. Numbers
 * below the smallest normal float count as zero while kernels run; the mode of the calling thread is restored.
 */
#ifndef PREFIX_H
#define PREFIX_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PREFIX_INPUT_COUNT @INPUT_COUNT@
#define PREFIX_OUTPUT_COUNT @OUTPUT_COUNT@

/* Alignment of the arena and of weights in memory, in bytes. */
#define PREFIX_ALIGNMENT 64

/* What NAME_init, NAME_run and NAME_run_parallel return. */
#define PREFIX_OK 0
@ERRORS@
/* A text in English for such a code; NULL for others. */
const char *NAME_error_text(int code);

/* Model, CPU, instruction set, fingerprint of the plan, version of the compiler. */
const char *NAME_version(void);

/* Inputs and outputs: how many, and for each its name, the number of its dimensions, and its shape (the batch first; 0
 * for a batch that is free). NULL or 0 for an index that is too large. */
size_t NAME_input_count(void);
const char *NAME_input_name(size_t index);
size_t NAME_input_rank(size_t index);
const size_t *NAME_input_shape(size_t index);
size_t NAME_output_count(void);
const char *NAME_output_name(size_t index);
size_t NAME_output_rank(size_t index);
const size_t *NAME_output_shape(size_t index);

/* Bytes of the arena for a batch; SIZE_MAX for a batch that cannot be run. */
size_t NAME_arena_bytes(size_t batch);

/* Bytes of the weight file; 0 where the weights are in the object. */
size_t NAME_weights_bytes(void);

/* A model that is ready to run. Its content is private. */
typedef struct {
    uint64_t opaque[2];
} NAME_context;

/* Makes a context ready: checks the CPU and the weights. There is nothing to free.
 *
@WEIGHTS@ */
int NAME_init(NAME_context *context, const void *weights, size_t weights_bytes);

/* Computes outputs[] from inputs[] on this thread. The arena is scratch memory of NAME_arena_bytes(batch) bytes, aligned
 * to 64; what it holds before does not matter, and nothing in it is needed after. */
int NAME_run(const NAME_context *context, void *arena, size_t batch, const float *const inputs[],
    float *const outputs[]);

/* Does the tasks begin, begin + 1, ..., end - 1. */
typedef void (*NAME_work)(void *task, size_t begin, size_t end);

/* Calls work(task, begin, end) with ranges that together are 0..tasks, each task once, on any threads and in any order,
 * and returns when all calls have returned. */
typedef void (*NAME_parallel_for)(void *user, size_t tasks, NAME_work work, void *task);

/* The same on several threads: steps that are worth it are given to parallel_for, one after the other. */
int NAME_run_parallel(const NAME_context *context, void *arena, size_t batch, const float *const inputs[],
    float *const outputs[], NAME_parallel_for parallel_for, void *user);

#ifdef __cplusplus
}
#endif

#endif
