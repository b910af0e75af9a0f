#pragma once

namespace mmrec {

/// Keeps 256 KiB back for the end of a program that has no memory left. The first allocation that
/// fails frees them and throws std::bad_alloc: destructors may allocate (nlohmann's of JSON does),
/// and one that throws ends the program without a word. Call at its start.
void keep_memory_reserve();

}  // namespace mmrec
