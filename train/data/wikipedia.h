#pragma once

#include <functional>
#include <string_view>

#include "train/data/text_file.h"

namespace mmrec {

/// Returns whether a file begins as the XML does in which MediaWiki exports pages.
bool begins_like_wikipedia(std::string_view begin);

bool is_wikipedia(const DataFile& file);

/// Reads such a file, for example Wikipedia's pages-articles. Calls visit(document) for each page
/// of namespace 0 that is no redirect: its title, an empty line, and the wikitext of its last
/// revision in the file without the white space at its end; or "" if there is no wikitext. The
/// others are in the result's `skipped`. Throws an Error with line and byte for what is not
/// well-formed XML, and for a page of more than 32 MB, and a DamagedData for damaged compressed
/// data; with `skip_bad` the file ends there for either.
FileFacts read_wikipedia(const DataFile& file,
                         const std::function<void(std::string_view document)>& visit,
                         const ReadObserver& observe, bool skip_bad = false);

}  // namespace mmrec
