/* A runtime in C without dependencies, driven by joulebench's backend "command".
 *
 * The "model" counts which byte follows which in the checkpoint's config.json; a token is a byte,
 * and ids of 256 and more never occur. Its logits are log(count + 1), so its greedy token, its
 * log-probabilities and its logits can be worked out by hand.
 *
 *     cc -O2 -o bigram bigram.c -lm
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BYTES = 256, LONGEST = 1 << 22, CONTEXT = 4096 };

static char line[LONGEST];
static int tokens[CONTEXT + 1], count;       /* of the request */
static unsigned following[BYTES][BYTES];     /* the weights */
static int vocabulary, length, last = -1;    /* the sequence */

/* Where the value of a key begins in a flat JSON object, or NULL. */
static const char *value_of(const char *json, const char *key) {
    char quoted[64];
    snprintf(quoted, sizeof quoted, "\"%s\":", key);
    const char *found = strstr(json, quoted);
    if (!found) return NULL;
    found += strlen(quoted);
    while (*found == ' ') found++;
    return found;
}

static void read_text(const char *json, const char *key, char *into, size_t size) {
    const char *at = value_of(json, key);
    size_t used = 0;
    if (at && *at == '"')
        for (at++; *at && *at != '"' && used + 1 < size; at++) into[used++] = *at;
    into[used] = 0;
}

static void read_tokens(void) {
    const char *at = value_of(line, "tokens");
    count = 0;
    if (!at || *at != '[') return;
    for (at++; *at && *at != ']' && count <= CONTEXT;) {
        char *end;
        long id = strtol(at, &end, 10);
        if (end == at) break;
        tokens[count++] = (int)id;
        for (at = end; *at == ',' || *at == ' ';) at++;
    }
}

static double logit(int before, int after) {
    return before < BYTES && after < BYTES ? log(following[before][after] + 1.0) : 0.0;
}

static double log_total(int before) { /* of the softmax's denominator: exp(logit) is count + 1 */
    double total = vocabulary;
    for (int after = 0; before < BYTES && after < BYTES; after++) total += following[before][after];
    return log(total);
}

static int best_after(int before) {
    int best = 0;
    for (int after = 1; after < BYTES; after++)
        if (logit(before, after) > logit(before, best)) best = after;
    return best;
}

static void answer_open(void) {
    char path[4096], name[4200];
    read_text(line, "artifact", path, sizeof path);
    snprintf(name, sizeof name, "%s/config.json", path);
    FILE *file = fopen(name, "rb");
    if (!file) {
        printf("{\"error\": \"no config.json in the model\"}\n");
        return;
    }
    static char config[1 << 20];
    size_t size = fread(config, 1, sizeof config - 1, file);
    fclose(file);
    memset(following, 0, sizeof following);
    for (size_t place = 1; place < size; place++)
        following[(unsigned char)config[place - 1]][(unsigned char)config[place]]++;
    config[size] = 0;
    const char *stated = value_of(config, "vocab_size");
    vocabulary = stated ? atoi(stated) : BYTES;
    if (vocabulary < BYTES) vocabulary = BYTES;
    printf("{\"vocabulary_size\": %d, \"context_length\": %d, "
           "\"facts\": {\"dtype\": \"float32\", \"language\": \"C\"}}\n", vocabulary, CONTEXT);
}

static int fits(int more) {
    if (length + more <= CONTEXT) return 1;
    printf("{\"error\": \"more than %d tokens do not fit\"}\n", CONTEXT);
    return 0;
}

static void answer_token(void) {
    last = best_after(last);
    printf("{\"token\": %d}\n", last);
}

static void answer_score(void) {
    printf("{\"scores\": [");
    for (int place = 1; place < count; place++)
        printf("%s%.9g", place > 1 ? ", " : "",
               logit(tokens[place - 1], tokens[place]) - log_total(tokens[place - 1]));
    printf("]}\n");
}

static void answer_logits(void) {
    char name[4096];
    read_text(line, "file", name, sizeof name);
    FILE *file = fopen(name, "wb");
    if (!file) {
        printf("{\"error\": \"the file cannot be written\"}\n");
        return;
    }
    for (int place = 0; place < count; place++)
        for (int after = 0; after < vocabulary; after++) {
            float value = (float)logit(tokens[place], after);
            fwrite(&value, sizeof value, 1, file);
        }
    fclose(file);
    printf("{}\n");
}

int main(void) {
    while (fgets(line, sizeof line, stdin)) {
        char op[16];
        read_text(line, "op", op, sizeof op);
        read_tokens();
        if (!strcmp(op, "hello")) {
            printf("{\"protocol\": 1, \"name\": \"bigram\", \"version\": \"1.0\", "
                   "\"formats\": [\"hf\"], \"capabilities\": [\"generate\", \"score\", \"logits\"]}\n");
        } else if (!strcmp(op, "open")) {
            answer_open();
        } else if (!strcmp(op, "reset")) {
            length = 0, last = -1;
            printf("{}\n");
        } else if (!strcmp(op, "prefill") && count > 0) {
            if (length = 0, fits(count)) length = count, last = tokens[count - 1], answer_token();
        } else if (!strcmp(op, "step") && last >= 0) {
            if (fits(1)) length++, answer_token();
        } else if (!strcmp(op, "score")) {
            answer_score();
        } else if (!strcmp(op, "logits")) {
            answer_logits();
        } else if (!strcmp(op, "memory")) {
            printf("{\"weights_bytes\": %zu, \"kv_used_bytes\": 0}\n", sizeof following);
        } else if (!strcmp(op, "close")) {
            printf("{}\n");
            fflush(stdout);
            return 0;
        } else {
            printf("{\"error\": \"cannot do '%s' now\"}\n", op);
        }
        fflush(stdout);
    }
    return 0;
}
