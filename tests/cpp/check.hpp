// A small test framework: CHECK counts failures, each test has a name, any failure fails the program.
#pragma once

#include <cstdio>
#include <exception>
#include <initializer_list>
#include <string>

namespace glesam_tests {

inline int failures = 0;

inline void check(bool holds, const char* expression, const char* file, int line) {
    if (holds) return;
    ++failures;
    std::printf("%s:%d: not so: %s\n", file, line, expression);
}

struct Test {
    const char* name;
    void (*run)();
};

/// Runs all tests. Returns the program's exit status.
inline int run_all(std::initializer_list<Test> tests) {
    for (const Test& test : tests) {
        std::printf("%s\n", test.name);
        try {
            test.run();
        } catch (const std::exception& error) {
            check(false, error.what(), test.name, 0);
        }
    }
    return failures == 0 ? 0 : 1;
}

/// The message of what `call` throws, or "nothing".
template <typename Thrown, typename Call>
std::string thrown_by(Call call) {
    try {
        call();
    } catch (const Thrown& error) {
        return error.what();
    }
    return "nothing";
}

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace glesam_tests

#define CHECK(condition) glesam_tests::check((condition), #condition, __FILE__, __LINE__)
