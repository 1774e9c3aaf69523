/* Reads a picture in one of the formats of Netpbm, "P5" for grey and "P6" for colours, of 8 bits a sample. */
#ifndef PICTURE_H
#define PICTURE_H

#include <stdio.h>

/* The next number of the header, behind spaces and comments; -1 where there is none. */
static int picture_number(FILE *file) {
    int c = fgetc(file), number;
    while (c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '#') {
        if (c == '#')
            while (c != '\n' && c != EOF)
                c = fgetc(file);
        else
            c = fgetc(file);
    }
    ungetc(c, file);
    return fscanf(file, "%5d", &number) == 1 ? number : -1;
}

/* Fills values[channels][height][width] with (sample / 255 - mean[c]) / std[c]. The picture must have this size. Returns
 * NULL, or what is wrong. */
static const char *read_picture(const char *path, int channels, int height, int width, const float mean[],
    const float std[], float *values) {
    FILE *file = fopen(path, "rb");
    if (!file)
        return "cannot open the picture";
    const char *error = NULL;
    char kind[2] = {0, 0};
    if (fread(kind, 1, 2, file) != 2 || kind[0] != 'P' || kind[1] != (channels == 1 ? '5' : '6'))
        error = channels == 1 ? "not a binary PGM file (P5)" : "not a binary PPM file (P6)";
    else if (picture_number(file) != width || picture_number(file) != height)
        error = "the picture has another size than the model's input";
    else if (picture_number(file) != 255)
        error = "the picture does not have 8 bits a sample";
    else
        fgetc(file); /* the one space behind the header */
    /* Samples lie pixel by pixel, the model wants plane by plane. */
    for (int pixel = 0; !error && pixel < height * width; pixel++)
        for (int c = 0; c < channels; c++) {
            int sample = fgetc(file);
            if (sample == EOF)
                error = "the picture ends too early";
            values[c * height * width + pixel] = (sample / 255.0f - mean[c]) / std[c];
        }
    fclose(file);
    return error;
}

#endif
