/* The version, for C and C++. The build takes the project's version from here. */
#ifndef MMREC_SUPPORT_VERSION_H
#define MMREC_SUPPORT_VERSION_H

#define MMREC_VERSION "0.1.0"
#define MMREC_VERSION_MAJOR 0
#define MMREC_VERSION_MINOR 1
#define MMREC_VERSION_PATCH 0

#ifdef __cplusplus
extern "C" {
#endif

/** Returns the MMREC_VERSION of the library that runs, which may be newer than that of the header
 * that a program was compiled with. */
const char* mmrec_version(void);

#ifdef __cplusplus
}
#endif

#endif
