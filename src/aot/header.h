/* @VERSION@
 *
 * A compiled network. It calls no other library, allocates nothing, and keeps no state but @STATE@.
 *
@PORTS@ *
 * Tensors are dense arrays, row-major, samples one after the other: [batch, channels, spatial sizes...]. They need
 * the alignment of their elements only. Outputs must not overlap inputs, the work memory or each other. Batch: @BATCH@.
 *
 * Threads: all functions may be called from any thread at any time. Runs may go on at the same time with the same
 * context if each has work memory and outputs of its own. Results have the same bits for any number of threads. Numbers
 * below the smallest normal float count as zero while kernels run, and results are rounded to the nearest, whatever the
 * floating-point mode of the calling thread, which it has again behind each kernel.
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
@NUMBERS@
/* Alignment of the work memory and of weights in memory, in bytes. */
#define PREFIX_ALIGNMENT 64

/* What NAME_init, NAME_run and NAME_run_parallel return. They check all that can be checked before they use it: for NULL,
 * for numbers that are out of range, for alignment. They cannot know whether memory is as large as this file says. */
#define PREFIX_OK 0
@ERRORS@
/* A text in English for such a code, and for any other number one that says so; never NULL. */
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

/* What the elements of an input or output stand for, where they are uint8_t: q for the number (q - zero_point) * scale, up
 * to the largest q. NULL where they are f32. */
typedef struct {
    float scale;
    uint8_t zero_point;
    uint8_t largest;
} NAME_quantisation;
const NAME_quantisation *NAME_input_quantisation(size_t index);
const NAME_quantisation *NAME_output_quantisation(size_t index);

/* Bytes of the work memory for a batch on so many threads (1 for NAME_run), a multiple of the alignment:
@BYTES@ * SIZE_MAX for a batch or a number of threads (1 to @THREADS@) that cannot be run. */
size_t NAME_memory_bytes(size_t batch, size_t threads);

/* Bytes of the weight file; 0 where the weights are in the object. */
size_t NAME_weights_bytes(void);

/* A model that is ready to run. Its content is private. */
typedef struct {
    uint64_t opaque[2];
} NAME_context;

/* Makes a context ready: checks the CPU and the weights. There is nothing to free. A context that an init has refused
 * runs nothing.
 *
@WEIGHTS@ */
int NAME_init(NAME_context *context, const void *weights, size_t weights_bytes);

/* Computes outputs[] from inputs[] on this thread. The work memory has NAME_memory_bytes(batch, 1) bytes, aligned to 64;
 * what it holds before does not matter, and nothing in it is needed after.
@MEMORY@ */
int NAME_run(const NAME_context *context, void *memory, size_t batch, const @INPUT@ *const inputs[],
    @OUTPUT@ *const outputs[]);

/* Does the tasks begin, begin + 1, ..., end - 1. `worker` says whose part of the work memory they use. */
typedef void (*NAME_work)(void *task, size_t worker, size_t begin, size_t end);

/* Calls work(task, worker, begin, end) with ranges that together are 0..tasks, each task once, on any threads and in any
 * order, and returns when all calls have returned. Workers are numbered from 0 and below the `threads` of the run; calls
 * that go on at the same time have different ones. Which worker does which tasks does not change the results. */
typedef void (*NAME_parallel_for)(void *user, size_t tasks, NAME_work work, void *task);

/* The same on several threads: whole samples, and steps of those that are left when each thread has as many as the others,
 * are given to parallel_for, one call after the other, if they are worth it; where it is NULL, this thread does all. The
 * work memory has NAME_memory_bytes(batch, threads) bytes. */
int NAME_run_parallel(const NAME_context *context, void *memory, size_t batch, const @INPUT@ *const inputs[],
    @OUTPUT@ *const outputs[], size_t threads, NAME_parallel_for parallel_for, void *user);
@SIZES@
#ifdef __cplusplus
}
#endif

#endif
