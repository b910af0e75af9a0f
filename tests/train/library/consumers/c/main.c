/* reader CHECKPOINT LOGITS: reads the text that trainer.cpp reads, and compares the logits. */
#include <mmrec/mmrec.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void require(int holds, const char* what) {
  if (holds) return;
  fprintf(stderr, "%s: %s\n", what, mmrec_error());
  exit(1);
}

enum { kMost = 4096 };
static int32_t ids[kMost];
static int64_t count;
static float expected[kMost];
static size_t vocabulary;

static int has_expected_logits(const mmrec_reader* reader) {
  return memcmp(mmrec_logits(reader), expected, vocabulary * sizeof(float)) == 0;
}

/* Reads with a reader of its own, beside the other thread. */
static void* read_all(void* model) {
  mmrec_reader* reader = mmrec_begin(model, 1);
  require(reader != NULL, "mmrec_begin");
  for (int repeat = 0; repeat < 3; ++repeat)
    require(mmrec_read(reader, ids, (size_t)count) == 0, "mmrec_read");
  mmrec_end(reader);
  reader = mmrec_begin(model, 1);
  require(mmrec_read(reader, ids, (size_t)count) == 0 && has_expected_logits(reader),
          "the logits of a thread differ");
  mmrec_end(reader);
  return NULL;
}

int main(int argc, char** argv) {
  require(argc == 3 && strcmp(mmrec_version(), MMREC_VERSION) == 0, "version");
  require(mmrec_open("/no/such/checkpoint") == NULL && strstr(mmrec_error(), "/no/such/checkpoint"),
          "a missing checkpoint");
  require(mmrec_open_in(argv[1], "int4") == NULL && strstr(mmrec_error(), "float32, bf16 or int8"),
          "an unknown precision");

  mmrec_model* model = mmrec_open(argv[1]);
  require(model != NULL, "mmrec_open");
  vocabulary = (size_t)mmrec_vocabulary(model);
  FILE* file = fopen(argv[2], "rb");
  require(file && vocabulary <= kMost && fread(expected, sizeof(float), kMost, file) == vocabulary,
          "the size of the vocabulary");
  fclose(file);

  /* There and back. Without room there is the size alone. */
  char text[kMost] = "", back[kMost];
  for (int i = 300; i < 310; ++i) sprintf(text + strlen(text), "%d and %d. ", i, i + 1);
  strcat(text, "3");
  require(mmrec_encode(model, text, strlen(text), NULL, 0) == (int64_t)strlen(text), "the size");
  count = mmrec_encode(model, text, strlen(text), ids, kMost);
  require(mmrec_decode(model, ids, (size_t)count, back, kMost) == (int64_t)strlen(text) &&
              memcmp(text, back, strlen(text)) == 0,
          "the text is another one");
  const int32_t wrong = (int32_t)vocabulary;
  require(mmrec_decode(model, &wrong, 1, back, kMost) == -1, "a wrong id was decoded");

  /* The same logits as in C++. */
  mmrec_reader* reader = mmrec_begin(model, 0);
  require(reader != NULL, "mmrec_begin");
  require(mmrec_logits(reader) == NULL, "logits of nothing");
  require(mmrec_read(reader, &wrong, 1) == -1 && strstr(mmrec_error(), "vocabulary"), "a wrong id");
  require(mmrec_read(reader, ids, (size_t)count) == 0, "mmrec_read");
  require(has_expected_logits(reader), "the logits differ from those of C++");

  /* A state goes on in another reader, whose text was another one. */
  const int64_t size = mmrec_save_state(reader, NULL, 0);
  void* state = size > 0 ? malloc((size_t)size) : NULL;
  require(state && mmrec_save_state(reader, state, (size_t)size) == size, "mmrec_save_state");
  mmrec_reader* other = mmrec_begin(model, 2);
  require(mmrec_read(other, ids, 5) == 0, "mmrec_read");
  require(mmrec_restore_state(other, state, (size_t)size / 2) == -1, "half a state was restored");
  require(mmrec_restore_state(other, state, (size_t)size) == 0, "mmrec_restore_state");
  require(has_expected_logits(other), "the logits of the restored state differ");
  require(mmrec_read(reader, ids, 9) == 0 && mmrec_read(other, ids, 9) == 0, "mmrec_read");
  require(memcmp(mmrec_logits(reader), mmrec_logits(other), vocabulary * sizeof(float)) == 0,
          "the restored text goes on differently");
  free(state);
  mmrec_end(other);

  /* Weights of int8 give other logits. */
  mmrec_model* narrow = mmrec_open_in(argv[1], "int8");
  mmrec_reader* of_narrow = narrow ? mmrec_begin(narrow, 1) : NULL;
  require(of_narrow && mmrec_read(of_narrow, ids, (size_t)count) == 0, "mmrec_open_in");
  require(!has_expected_logits(of_narrow), "the weights were not rounded");
  mmrec_end(of_narrow);
  mmrec_close(narrow);

  /* Two threads read at once. */
  pthread_t threads[2];
  for (int i = 0; i < 2; ++i)
    require(pthread_create(&threads[i], NULL, read_all, model) == 0, "pthread_create");
  for (int i = 0; i < 2; ++i) pthread_join(threads[i], NULL);

  mmrec_close(model);
  require(mmrec_read(reader, ids, 1) == 0, "a reader outlives its model");
  mmrec_end(reader);
  puts("C: as expected");
  return 0;
}
