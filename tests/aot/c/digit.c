/* Tells which digit a picture shows: digit PICTURE, a PGM file of 28x28 pixels, a white digit on black. */
#include "lenet5.h"
#include "picture.h"

#include <math.h>
#include <stdlib.h>

static int fail(const char *what) {
    fprintf(stderr, "digit: %s\n", what);
    return 1;
}

int main(int argc, char **argv) {
    if (argc != 2)
        return fail("usage: digit PICTURE");
    const float mean[] = {0.1307f}, std[] = {0.3081f};
    static float picture[28 * 28];
    const char *problem = read_picture(argv[1], 1, 28, 28, mean, std, picture);
    if (problem)
        return fail(problem);

    lenet5_context context;
    int error = lenet5_init(&context, NULL, 0);
    if (error)
        return fail(lenet5_error_text(error));

    void *memory = aligned_alloc(LENET5_ALIGNMENT, lenet5_memory_bytes(1, 1));
    if (!memory)
        return fail("out of memory");
    float scores[10];
#ifdef LENET5_INPUT_0_SCALE /* with --bytes: whole numbers of eight bits */
    static uint8_t numbers[28 * 28];
    for (int i = 0; i < 28 * 28; i++) {
        float number = rintf(picture[i] / LENET5_INPUT_0_SCALE) + LENET5_INPUT_0_ZERO_POINT;
        numbers[i] = (uint8_t)fminf(fmaxf(number, 0.0f), LENET5_INPUT_0_LARGEST);
    }
    const uint8_t *inputs[LENET5_INPUT_COUNT] = {numbers};
#else
    const float *inputs[LENET5_INPUT_COUNT] = {picture};
#endif
    float *outputs[LENET5_OUTPUT_COUNT] = {scores};
    error = lenet5_run(&context, memory, 1, inputs, outputs);
    free(memory);
    if (error)
        return fail(lenet5_error_text(error));

    int digit = 0;
    for (int i = 1; i < 10; i++)
        if (scores[i] > scores[digit])
            digit = i;
    printf("%d\n", digit);
    return 0;
}
