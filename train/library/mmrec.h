/* MM-Rec in C: a trained model reads tokens and says what may come next.
 *
 *     mmrec_model* model = mmrec_open("checkpoints/shakespeare");
 *     mmrec_reader* reader = model ? mmrec_begin(model, 0) : NULL;
 *     int32_t ids[16];
 *     int64_t count = reader ? mmrec_encode(model, "KING:", 5, ids, 16) : -1;
 *     if (count < 0 || mmrec_read(reader, ids, (size_t)count) != 0) {
 *       fprintf(stderr, "%s\n", mmrec_error());
 *       return 1;
 *     }
 *     const float* logits = mmrec_logits(reader);  // of all tokens, for the one that comes next
 *     ..
 *     mmrec_end(reader);
 *     mmrec_close(model);
 *
 * Failures. A function that fails returns NULL or -1, and mmrec_error() says what, where and what
 * to do. A pointer may be NULL only where that is said. No C++ exception leaves these functions.
 *
 * Threads. Any number of threads may use one model at a time, and each its own reader. One reader
 * is for one thread at a time. mmrec_error() is of the thread that calls it.
 *
 * Results. The same calls of mmrec_read give the same logits, bit for bit, whatever the threads. To
 * divide a text into other calls may change the rounding.
 *
 * ABI. In all versions with the same MMREC_VERSION_MAJOR and MMREC_VERSION_MINOR these functions
 * stay as they are (docs/library.md).
 */
#ifndef MMREC_H
#define MMREC_H

#include <stddef.h>
#include <stdint.h>

#include "support/version.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A trained model and its tokenizer. It never changes. */
typedef struct mmrec_model mmrec_model;
/** A text that a model reads: what it remembers of it, in memory that does not grow. */
typedef struct mmrec_reader mmrec_reader;

/** Returns the message of the last failure on this thread, "" if there was none. It is valid until
 * the next call on this thread. */
const char* mmrec_error(void);

/** Opens a checkpoint's folder, or a run's: then its best model. Returns NULL if it fails. */
mmrec_model* mmrec_open(const char* path);
/** The same, to compute in a precision: "float32", as mmrec_open() does, "bf16" or "int8", which
 * read fewer bytes of weights and are faster, and whose logits differ a little. Fails where this
 * process has no kernels for it. */
mmrec_model* mmrec_open_in(const char* path, const char* precision);
/** Readers of the model stay valid. NULL does nothing. */
void mmrec_close(mmrec_model* model);

/** Returns the number of tokens; their ids are 0 .. mmrec_vocabulary() - 1. Id 0 is the unknown
 * token, id 1 padding; neither is ever what a text continues with. */
int32_t mmrec_vocabulary(const mmrec_model* model);

/** Writes the ids of a text in UTF-8 of `bytes` bytes to ids[0 .. room - 1], as many as there is
 * room for. Returns their number, which may be larger than room; -1 if it fails. ids may be NULL if
 * room is 0. */
int64_t mmrec_encode(const mmrec_model* model, const char* text, size_t bytes, int32_t* ids,
                     size_t room);
/** Writes the text of ids to text[0 .. room - 1], as many bytes as there is room for, without a
 * terminating 0. Returns their number, which may be larger than room; -1 if it fails, for example
 * for an id that there is not. A token may be a part of a character. text may be NULL if room is
 * 0. */
int64_t mmrec_decode(const mmrec_model* model, const int32_t* ids, size_t count, char* text,
                     size_t room);

/** Begins to read a text. threads: how many compute, the calling thread among them; 1: it alone; 0:
 * OMP_NUM_THREADS of the environment, or the cores that this process may use. Returns NULL if it
 * fails. */
mmrec_reader* mmrec_begin(const mmrec_model* model, int threads);
/** Its model may have been closed before. NULL does nothing. */
void mmrec_end(mmrec_reader* reader);

/** Reads the next `count` tokens of the text; many in a call are faster than one by one. Returns 0,
 * or -1 if it fails: then, unless an id was wrong, restore a state before you go on. */
int mmrec_read(mmrec_reader* reader, const int32_t* ids, size_t count);
/** Returns the logits of the token that comes next, mmrec_vocabulary() of them, valid until the
 * next call with this reader; NULL if nothing has been read. */
const float* mmrec_logits(const mmrec_reader* reader);

/** Writes the state to state[0 .. room - 1] if there is room for all of it. Returns its size in
 * bytes, some kilobytes for a small model; -1 if it fails. state may be NULL if room is 0. The
 * bytes are those of a file that `generate --state` reads and writes. */
int64_t mmrec_save_state(const mmrec_reader* reader, void* state, size_t room);
/** Goes on with a state that a reader of the same weights saved, also in another process: what it
 * had read has been read, and mmrec_logits() is as it was. Returns 0, or -1 if it fails, for
 * example for a state of other weights; then the reader is as before. */
int mmrec_restore_state(mmrec_reader* reader, const void* state, size_t bytes);

#ifdef __cplusplus
}
#endif

#endif
