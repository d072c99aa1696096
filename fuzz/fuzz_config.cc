// config.json: strict JSON, typed getters, and the families that assemble a model from it.
#include <string>

#include "fuzz/fuzz.h"
#include "halftone/base/json.h"
#include "halftone/files/model_config.h"
#include "halftone/spec/family.h"

using namespace halftone;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const std::string path = "config.json";
  Json config;
  if (!fuzz::accepts([&] { config = parse_json(text, path); })) return 0;
  Json again;
  fuzz::require(fuzz::accepts([&] { again = parse_json(config.dump(), path); }) && again == config,
                "JSON survives being written and read");
  if (!config.is_object()) return 0;
  const files::ConfigReader reader(config, path);
  for (const auto& [key, value] : config.items()) {
    int64_t x = 0;
    if (fuzz::accepts([&] { x = reader.integer(key, 1, 1000); }))
      fuzz::require(x >= 1 && x <= 1000, "integers keep their range");
    double y = 0;
    if (fuzz::accepts([&] { y = reader.number(key, 0, 1); }))
      fuzz::require(y > 0 && y <= 1, "numbers keep their range");
    fuzz::accepts([&] { reader.boolean(key); });
    fuzz::accepts([&] { reader.text(key); });
    fuzz::accepts([&] { reader.object(key); });
  }
  fuzz::accepts([&] {
    const auto& family = spec::family_for(config, path);
    const spec::ModelSpec model = family.entry.assemble(config, path);
    spec::validate(model, path);
  });
  return 0;
}
