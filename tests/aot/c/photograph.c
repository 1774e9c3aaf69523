/* Tells what a photograph shows: photograph PICTURE LABELS [WEIGHTS], a PPM file of 224x224 pixels and a text file with a
 * class name in each line. WEIGHTS is the file that `--weights-in file` writes; without it they are in the program. */
#include "mobilenet_v2.h"
#include "picture.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SIZE = 224, CLASSES = 1000, THREADS = 2 };

static int fail(const char *what) {
    fprintf(stderr, "photograph: %s\n", what);
    return 1;
}

/* Maps a whole file; the pages are read when they are needed, and shared by all programs that map it. */
static const void *map(const char *path, size_t *bytes) {
    struct stat status;
    int file = open(path, O_RDONLY);
    if (file < 0 || fstat(file, &status) != 0)
        return NULL;
    *bytes = (size_t)status.st_size;
    void *memory = mmap(NULL, *bytes, PROT_READ, MAP_PRIVATE, file, 0);
    close(file);
    return memory == MAP_FAILED ? NULL : memory;
}

/* The tasks of one worker. */
struct part {
    mobilenet_v2_work work;
    void *task;
    size_t worker, begin, end;
};

static void *do_part(void *argument) {
    struct part *part = argument;
    part->work(part->task, part->worker, part->begin, part->end);
    return NULL;
}

/* Gives each worker an equal part. A server would keep its threads; one that cannot be started is no loss, for this
 * thread does its part instead. */
static void parallel_for(void *user, size_t tasks, mobilenet_v2_work work, void *task) {
    (void)user;
    pthread_t threads[THREADS];
    struct part parts[THREADS];
    int started[THREADS];
    for (size_t i = 0; i < THREADS; i++) {
        parts[i] = (struct part){work, task, i, tasks * i / THREADS, tasks * (i + 1) / THREADS};
        started[i] = i > 0 && pthread_create(&threads[i], NULL, do_part, &parts[i]) == 0;
    }
    for (size_t i = 0; i < THREADS; i++)
        if (!started[i])
            do_part(&parts[i]);
    for (size_t i = 0; i < THREADS; i++)
        if (started[i])
            pthread_join(threads[i], NULL);
}

/* Prints line number `line` of a file. */
static int print_line(const char *path, int line) {
    char text[256];
    FILE *file = fopen(path, "r");
    if (!file)
        return fail("cannot open the class names");
    for (int i = 0; i <= line; i++)
        if (!fgets(text, sizeof text, file))
            strcpy(text, "a class without a name\n");
    fclose(file);
    fputs(text, stdout);
    return 0;
}

int main(int argc, char **argv) {
    if (argc < 3)
        return fail("usage: photograph PICTURE LABELS [WEIGHTS]");
    const float mean[] = {0.485f, 0.456f, 0.406f}, std[] = {0.229f, 0.224f, 0.225f};
    static float picture[3 * SIZE * SIZE], scores[CLASSES];
    const char *problem = read_picture(argv[1], 3, SIZE, SIZE, mean, std, picture);
    if (problem)
        return fail(problem);

    size_t bytes = 0;
    const void *weights = argc > 3 ? map(argv[3], &bytes) : NULL;
    mobilenet_v2_context context;
    int error = mobilenet_v2_init(&context, weights, bytes);
    if (error)
        return fail(mobilenet_v2_error_text(error));

    void *memory = aligned_alloc(MOBILENET_V2_ALIGNMENT, mobilenet_v2_memory_bytes(1, THREADS));
    if (!memory)
        return fail("out of memory");
    const float *inputs[MOBILENET_V2_INPUT_COUNT] = {picture};
    float *outputs[MOBILENET_V2_OUTPUT_COUNT] = {scores};
    error = mobilenet_v2_run_parallel(&context, memory, 1, inputs, outputs, THREADS, parallel_for, NULL);
    free(memory);
    if (error)
        return fail(mobilenet_v2_error_text(error));

    int best = 0;
    for (int i = 1; i < CLASSES; i++)
        if (scores[i] > scores[best])
            best = i;
    return print_line(argv[2], best);
}
