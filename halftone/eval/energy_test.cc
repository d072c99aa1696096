#include "halftone/eval/energy.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace halftone::eval {
namespace {

class Powercap : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "powercap.XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder = name;
  }
  void TearDown() override { std::filesystem::remove_all(folder); }
  void write(const std::string& zone, const std::string& file, const std::string& text) const {
    std::filesystem::create_directories(folder + "/" + zone);
    std::ofstream(folder + "/" + zone + "/" + file) << text << "\n";
  }
  std::string folder;
};

TEST_F(Powercap, PackagesAreSummedAndCountersWrap) {
  EXPECT_FALSE(EnergyMeter::open(folder).has_value());
  EXPECT_FALSE(EnergyMeter::open(folder + "/none").has_value());
  for (const char* zone : {"intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0"}) {
    write(zone, "name",
          std::string(zone).ends_with(":0:0") ? "core" : "package-" + std::string(1, zone[11]));
    write(zone, "energy_uj", "1000000");
    write(zone, "max_energy_range_uj", "5000000");
  }
  auto meter = EnergyMeter::open(folder);
  ASSERT_TRUE(meter.has_value());
  EXPECT_EQ(meter->joules(), 0);
  write("intel-rapl:0", "energy_uj", "4500000");
  write("intel-rapl:0:0", "energy_uj", "4000000");  // in the package already
  EXPECT_DOUBLE_EQ(meter->joules(), 3.5);
  write("intel-rapl:0", "energy_uj", "500000");  // past its range
  write("intel-rapl:1", "energy_uj", "1250000");
  EXPECT_DOUBLE_EQ(meter->joules(), 3.5 + 1 + 0.25);
  std::filesystem::remove(folder + "/intel-rapl:1/energy_uj");
  EXPECT_FALSE(EnergyMeter::open(folder).has_value());
}

// By hand: a million MACs of 4 by 8 bits are 1e6 x (3.1 / 32 + 0.1) pJ, as many of floats
// 1e6 x 4.6 pJ; 8 MB read for 4 tokens are 1e6 x 1.95 nJ / 4.
TEST(ModelledEnergy, IsTheSumOfArithmeticAndReading) {
  const std::vector<MacsOf> macs = {{1e6, 4, 8}, {1e6, 16, 32}};
  EXPECT_DOUBLE_EQ(modelled_joules_per_token(macs, 8e6, 4),
                   1e-6 * (3.1 / 32 + 0.1) + 1e-6 * 4.6 + 1e-3 * 1.95 / 4);
  EXPECT_NEAR(mac_joules(8, 8), 0.3e-12, 0.01e-12);
}

}  // namespace
}  // namespace halftone::eval
