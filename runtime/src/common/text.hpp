// Values in messages, written as in the Python package whatever the program's locale.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace glesam::core {

/// Python's repr of a string: 'a', "it's", 'tab\t'. UTF-8 beyond ASCII stays as it is,
/// but for what a terminal acts on; other bytes are escaped.
std::string repr(std::string_view text);

/// `text` with its line breaks, other control characters and bytes that are not UTF-8 escaped as repr() does.
std::string one_line(std::string_view text);

/// `value` as %g writes it: six significant digits.
std::string general(double value);

/// Python's repr of a float: the shortest digits that read back as the same double, 1.0 and 1e+16.
std::string shortest(double value);

std::string joined(const std::vector<std::string>& parts, std::string_view separator);

}  // namespace glesam::core
