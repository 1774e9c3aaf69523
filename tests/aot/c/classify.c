/* Tells which digit a picture shows: classify PICTURE, a file of 28x28 f32 values as the network was trained on, row by
 * row: (grey / 255 - 0.1307) / 0.3081 for a white digit on black. */
#include "lenet5.h"

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    static float picture[28 * 28];
    FILE *file = argc == 2 ? fopen(argv[1], "rb") : NULL;
    if (!file || fread(picture, sizeof picture, 1, file) != 1) {
        fprintf(stderr, "usage: classify PICTURE, a file of 28x28 f32 values\n");
        return 2;
    }
    fclose(file);

    lenet5_context context;
    int error = lenet5_init(&context, NULL, 0);
    if (error) {
        fprintf(stderr, "%s\n", lenet5_error_text(error));
        return 1;
    }

    /* The size is a multiple of the alignment, as aligned_alloc wants it. */
    void *arena = aligned_alloc(LENET5_ALIGNMENT, lenet5_arena_bytes(1));
    float scores[10];
    const float *inputs[LENET5_INPUT_COUNT] = {picture};
    float *outputs[LENET5_OUTPUT_COUNT] = {scores};
    if (!arena || (error = lenet5_run(&context, arena, 1, inputs, outputs)) != 0) {
        fprintf(stderr, "%s\n", arena ? lenet5_error_text(error) : "out of memory");
        return 1;
    }
    free(arena);

    int digit = 0;
    for (int i = 1; i < 10; i++)
        if (scores[i] > scores[digit])
            digit = i;
    printf("%d\n", digit);
    return 0;
}
