#pragma once

#include <gtest/gtest.h>

#include <initializer_list>
#include <string>
#include <string_view>
#include <typeinfo>

#include "support/error.h"

namespace mmrec::test {

/// Expects body() to throw exactly this exception type, with a message that contains every part.
template <class Exception = Error, class Body>
void expect_error(Body body, std::initializer_list<std::string_view> parts) {
  try {
    body();
  } catch (const Exception& error) {
    EXPECT_TRUE(typeid(error) == typeid(Exception)) << typeid(error).name() << ": " << error.what();
    for (std::string_view part : parts)
      EXPECT_NE(std::string_view(error.what()).find(part), std::string_view::npos)
          << "'" << part << "' is not in: " << error.what();
    return;
  }
  ADD_FAILURE() << "nothing was thrown";
}

}  // namespace mmrec::test
