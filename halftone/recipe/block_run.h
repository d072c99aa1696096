// The loop over units of the stream driver: observe, round, replace, write a part, advance.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "halftone/recipe/activations.h"
#include "halftone/recipe/assemble.h"
#include "halftone/recipe/driver.h"
#include "halftone/recipe/schedule.h"
#include "halftone/recipe/work_folder.h"

namespace halftone::recipe {

LayerReport layer_report_from(const Json& json);

class BlockRun {
 public:
  BlockRun(const QuantizeRequest& request, const Capabilities& can, const Assignment& assignment,
           const Schedule& schedule, pack::Layout layout,
           const std::optional<CalibrationSet>& calibration, WorkFolder& work,
           const Context& context);
  // Finishes every unit that the work folder does not hold yet. An earlier run's units are replayed
  // (forward only, with their quantized weights), and only when a later unit still needs
  // calibration inputs.
  void run();

 private:
  using Statistics = std::map<std::string, InputStatistics>;
  void start_engine();
  void replay(const Unit& unit);
  void process(const Unit& unit);
  void round_group(const Unit& unit, const InputGroup& group, InputStatistics statistics);
  Statistics pass(const Unit& unit, bool advance,
                  const std::map<std::string, std::set<Need>>& observe);
  InputStatistics take(Statistics& all, const InputGroup& group, const Unit& unit) const;
  Matrix<float> read_weight(const std::string& op) const;
  void accept(const Choice& choice, rounder::Result result, bool may_equal_nearest);
  const rounder::Run& rounder_run(const std::string& name) const;
  void worked(double flops, const std::string& where);

  const QuantizeRequest& request_;
  const Capabilities& can_;
  const Schedule& schedule_;
  const pack::Layout layout_;  // of the output; parts are stored in the halftone layout
  const std::optional<CalibrationSet>& calibration_;
  WorkFolder& work_;
  const Context& context_;
  PartReader reader_;
  std::unique_ptr<BlockEngine> engine_;
  std::unique_ptr<Activations> hidden_;
  std::vector<std::pair<std::string, HostTensor>> part_;  // of the unit at hand
  std::vector<LayerReport> reports_;                      // of the unit at hand
  double done_ = 0, total_ = 0, tokens_ = 0;
};

}  // namespace halftone::recipe
