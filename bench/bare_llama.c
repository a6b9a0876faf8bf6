/* The loop that a C program would write: llama_decode, then the greatest logit. */
#include <stdint.h>

#include "llama.h"

/* Feeds `token` and `count` - 1 of the tokens that follow; `written` gets `count` tokens. */
int bare_steps(struct llama_context *context, int32_t vocabulary, llama_token token, int32_t count,
               int32_t *written) {
    struct llama_batch batch = llama_batch_get_one(&token, 1);
    for (int32_t step = 0; step < count; step++) {
        int code = llama_decode(context, batch);
        if (code != 0) return code;
        const float *logits = llama_get_logits_ith(context, -1);
        int32_t best = 0;
        for (int32_t id = 1; id < vocabulary; id++)
            if (logits[id] > logits[best]) best = id;
        written[step] = token = best;
    }
    return 0;
}
