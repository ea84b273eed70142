/* A compiled model in a C program: raw inputs on standard input, raw outputs on standard output. */
#include <stdio.h>
#include <stdlib.h>

#include "edgec_model.h"

int main(void) {
    const struct edgec_model *model = edgec_model_describe();
    void **inputs = calloc(model->inputs, sizeof *inputs), **outputs = calloc(model->outputs, sizeof *outputs);
    void *arena = aligned_alloc(model->arena_alignment, model->arena_bytes);
    if (!inputs || !outputs || !arena) return 1;
    for (size_t i = 0; i < model->outputs; i++)
        if (!(outputs[i] = malloc(model->output[i].bytes))) return 1;
    for (size_t i = 0; i < model->inputs; i++) {
        const struct edgec_tensor *input = &model->input[i];
        if (!(inputs[i] = malloc(input->bytes)) || fread(inputs[i], 1, input->bytes, stdin) != input->bytes) return 2;
    }
    if (edgec_model_run((const void *const *)inputs, outputs, arena, NULL) != EDGEC_OK) return 3;
    for (size_t i = 0; i < model->outputs; i++) fwrite(outputs[i], 1, model->output[i].bytes, stdout);
    return 0;
}
