// quantization_config of packed folders: any JSON is refused with a typed error or gives schemes
// that the readers can work with.
#include <string>

#include "fuzz/fuzz.h"
#include "halftone/base/json.h"
#include "halftone/pack/quantization_config.h"

using namespace halftone;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  Json json;
  if (!fuzz::accepts([&] { json = parse_json(text, "config.json"); })) return 0;
  fuzz::accepts([&] {
    const pack::QuantizationConfig config(json, "config.json");
    for (const spec::Role role : {spec::Role::query, spec::Role::head}) {
      spec::Linear linear;
      linear.in = 96;
      linear.out = 64;
      linear.role = role;
      const auto scheme = config.scheme("model.layers.1.mlp.up_proj", linear);
      if (!scheme) continue;
      fuzz::require(scheme->weights.bits >= 1 && scheme->weights.bits <= 8,
                    "bits are held by a byte");
      fuzz::require(
          scheme->weights.groups(linear.in) >= 1 && scheme->weights.groups(linear.in) <= linear.in,
          "every column has a group");
    }
  });
  return 0;
}
