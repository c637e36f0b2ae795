// Shared by the C functions: every exception becomes a status and this thread's message.
#pragma once

#include <cstddef>
#include <exception>
#include <memory>
#include <new>

#include "common/error.hpp"
#include "glesam/glesam.h"
#include "predictor/predictor.hpp"

struct glesam_predictor {
    std::unique_ptr<glesam::core::Predictor> predictor;
};

namespace glesam::c_api {

/// Stores `message` for this thread's glesam_last_error(). Returns `status`.
glesam_status remember(glesam_status status, const char* message) noexcept;

template <typename Function>
glesam_status guarded(Function function) noexcept {
    try {
        function();
        return GLESAM_OK;
    } catch (const core::Error& error) {
        return remember(error.status(), error.what());
    } catch (const std::bad_alloc&) {
        return remember(GLESAM_INTERNAL_ERROR, "out of memory; free some, or give a smaller picture or fewer prompts");
    } catch (const std::exception& error) {
        return remember(GLESAM_INTERNAL_ERROR, error.what());
    } catch (...) {
        return remember(GLESAM_INTERNAL_ERROR, "an unknown exception; report it");
    }
}

/// Throws an ArgumentError where a required pointer is null.
void require(const void* pointer, const char* name);

/// Throws an ArgumentError for prompts whose arrays are missing.
void check_prompts(const glesam_prompt* prompts, std::size_t count);

}  // namespace glesam::c_api
