// Downloads from the Hugging Face hub (or a mirror) into its usual cache, so that other programs
// find the files too.
//
//   HubSettings settings = hub_settings(*context.env);
//   std::string folder = download_model({.name = "org/name"}, settings, context);
//   // HUB/models--org--name/snapshots/COMMIT
//
// A file appears under its name only when its size and, for large files, its SHA-256 are right. A
// cut download goes on where it stopped, also in a later run. Processes that want the same file
// wait for each other. The token goes to the endpoint's host and nowhere else.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "halftone/base/context.h"
#include "halftone/files/hub_cache.h"

namespace halftone::files {

// What a model needs: config.json (required), tokenizer and chat template files,
// generation_config.json, quantization configs, and the weights: safetensors (index and shards, or
// one file), else pytorch_model.bin likewise. Files already there are not asked for again. Returns
// the snapshot folder. Errors: E_MISSING (no such repository, revision or file; offline),
// E_MISMATCH (size, checksum), E_IO (network; what was received is kept). Progress is reported in
// bytes.
std::string download_model(const HubRepo& repo, const HubSettings& settings,
                           const Context& context);

// One file; empty when the repository does not have it.
std::optional<std::string> download_file(const HubRepo& repo, const std::string& file,
                                         const HubSettings& settings, const Context& context);

// SHA-256 of a whole file, 64 lower-case hex digits.
std::string file_sha256(const ReadFile& file);

}  // namespace halftone::files
