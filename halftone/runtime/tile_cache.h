// Tiled weights kept in a file, so that a model starts without tiling: the file is mapped and used
// as it lies. Internal to runtime/.
//
// One safetensors file per model and load options, <model>-<hash>.safetensors in a folder of the
// user's choice: a u8 tensor of tiles for each linear (data aligned to 64 bytes), layouts and input
// preparation in the metadata. It is trusted as far as the model is: the key holds names, sizes and
// times of the model's files, the layout version and the options; a file whose key differs is
// written anew.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "halftone/files/safetensors.h"
#include "halftone/runtime/program.h"

namespace halftone::runtime {

class TileCache {
 public:
  // Opens the file for this model in `folder`. Where there is none, or one of another key, version
  // or model state (said by context.info), tiles are collected and `finish` writes it.
  TileCache(const std::string& folder, const pack::PackedModel& packed, const LoadOptions& options,
            const Context& context);

  // The tiles of a linear, or null; the plan of its preparation is the caller's to make.
  const TiledLinear* find(const std::string& name) const;
  void add(const std::string& name, const TiledLinear& linear);
  // Writes what was added: temporary file, fsync, rename. A disk that is full or a folder that
  // cannot be written costs a warning, not the run.
  void finish();

 private:
  const Context& context_;
  std::string folder_, path_, key_;
  TiledLinear read(const std::shared_ptr<const files::SafetensorsSource>& file,
                   const std::string& name, const Json& layout) const;
  std::map<std::string, TiledLinear> kept_, added_;
};

}  // namespace halftone::runtime
