#include "halftone/format/plan.h"

namespace halftone::format {

const Format* Plan::find(const std::string& op, Port port) const {
  const auto it = ports.find({op, port});
  return it == ports.end() ? nullptr : &it->second;
}

}  // namespace halftone::format
