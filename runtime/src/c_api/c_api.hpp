// What the functions of the library's border share: every exception becomes a status and this thread's message.
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

namespace glesam::border {

/// Keeps `message` for glesam_last_error() in this thread, and gives `status` back.
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

/// Throws where a pointer that must be given is null.
void need(const void* pointer, const char* name);

/// Throws for prompts whose arrays are missing.
void check_prompts(const glesam_prompt* prompts, std::size_t count);

}  // namespace glesam::border
