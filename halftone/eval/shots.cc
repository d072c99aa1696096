#include "halftone/eval/shots.h"

#include "halftone/base/error.h"

namespace halftone::eval {
namespace {

constexpr uint64_t kShotSeed = 1234;  // lm-eval's fewshot_random_seed

const std::string& answer_of(const Item& item) {
  return item.ending ? *item.ending : item.choices[static_cast<size_t>(item.gold)];
}
const std::string& question_of(const Item& item) {
  return item.ending ? item.choices[static_cast<size_t>(item.gold)] : item.question;
}

}  // namespace

ShotPicker::ShotPicker(const Shots& shots, const std::string& name)
    : shots_(shots), random_(kShotSeed) {
  const int64_t wanted = shots.count + (shots.drop_itself && !shots.first ? 1 : 0);
  if (shots.count > 0 && wanted > std::ssize(shots.pool))
    throw InputError(
        "--num-fewshot " + std::to_string(shots.count),
        name + " has " + std::to_string(shots.pool.size()) + " examples to choose from",
        "ask for fewer");
}

std::vector<const Item*> ShotPicker::of(const Item& item) {
  std::vector<const Item*> out;
  if (shots_.count == 0) return out;
  if (shots_.first) {
    for (int64_t i = 0; i < shots_.count; ++i) out.push_back(&shots_.pool[static_cast<size_t>(i)]);
    return out;
  }
  const int64_t population = std::ssize(shots_.pool);
  for (const int64_t i : random_.sample(population, shots_.count + shots_.drop_itself)) {
    const Item& drawn = shots_.pool[static_cast<size_t>(i)];
    if (!shots_.drop_itself || drawn.doc != item.doc) out.push_back(&drawn);
  }
  if (std::ssize(out) < shots_.count) {  // drawn twice: lm-eval draws anew from all the others
    std::vector<const Item*> others;
    for (const Item& other : shots_.pool)
      if (other.doc != item.doc) others.push_back(&other);
    if (std::ssize(others) < shots_.count)
      throw FileError(Code::value, item.where, "too few examples differ from this item", {},
                      "ask for fewer examples");
    out.clear();
    for (const int64_t i : random_.sample(std::ssize(others), shots_.count))
      out.push_back(others[static_cast<size_t>(i)]);
  }
  out.resize(static_cast<size_t>(shots_.count));
  return out;
}

std::vector<std::string> contexts_of(const TaskInput& input, const std::string& description,
                                     std::span<const Item* const> shots, const Item& item) {
  const std::vector<std::string> own =
      item.ending ? item.choices : std::vector<std::string>{item.question};
  std::vector<std::string> out;
  if (!input.chat) {
    std::string before = description;
    for (const Item* shot : shots) before += question_of(*shot) + " " + answer_of(*shot) + "\n\n";
    for (const std::string& question : own) out.push_back(before + question);
    return out;
  }
  Json before = Json::array();
  const auto say = [](Json& messages, std::string_view role, const std::string& content) {
    messages.push_back({{"role", role}, {"content", content}});
  };
  if (!description.empty()) say(before, "system", description);
  for (const Item* shot : shots) {
    say(before, "user", question_of(*shot));
    say(before, "assistant", answer_of(*shot));
  }
  for (const std::string& question : own) {
    Json messages = before;
    say(messages, "user", question);
    out.push_back(input.chat(messages));
  }
  return out;
}

}  // namespace halftone::eval
