#include "bundle/plan.hpp"

#include <algorithm>
#include <charconv>
#include <optional>
#include <sstream>

#include "base/capability.hpp"
#include "base/read_file.hpp"
#include "base/text.hpp"
#include "ziprerank/errors.hpp"

namespace ziprerank {
namespace {

constexpr int kFormatVersion = 1;
constexpr std::size_t kMostBytes = std::size_t{1} << 20;

std::string Brackets(const Shape& shape) {
  std::ostringstream text;
  for (std::size_t i = 0; i < shape.size(); ++i) text << (i == 0 ? "[" : ", ") << shape[i];
  return text.str() + "]";
}

bool ReadShape(const std::string& text, Shape* shape) {
  const char* const end = text.data() + text.size();
  for (const char* first = text.data();;) {
    std::int64_t size = -1;
    const auto [last, error] = std::from_chars(first, end, size);
    if (error != std::errc() || size < 0) return false;
    shape->push_back(size);
    if (last == end) return true;
    if (*last != 'x') return false;
    first = last + 1;
  }
}

// "8.9" is 89.
bool ReadCapability(std::istringstream& line, std::vector<int>* capabilities) {
  int major = 0;
  int minor = -1;
  char dot = 0;
  if (!(line >> major >> dot >> minor) || dot != '.' || minor < 0 || minor > 9) return false;
  capabilities->push_back(10 * major + minor);
  return true;
}

bool ReadProfile(std::istringstream& line, std::vector<Plan::Profile>* profiles) {
  Plan::Profile& profile = profiles->emplace_back();
  std::string smallest;
  std::string usual;
  std::string largest;
  return line >> profile.graph >> profile.tensor >> smallest >> usual >> largest &&
         ReadShape(smallest, &profile.smallest) && ReadShape(usual, &profile.usual) &&
         ReadShape(largest, &profile.largest) && profile.smallest.size() == profile.usual.size() &&
         profile.usual.size() == profile.largest.size();
}

// One record into the plan; false when it cannot be read.
bool ReadRecord(const std::string& kind, std::istringstream& line, Plan* plan) {
  if (kind == "builder") return static_cast<bool>(std::getline(line >> std::ws, plan->builder));
  if (kind == "precision") return static_cast<bool>(line >> plan->precision);
  if (kind == "capability") return ReadCapability(line, &plan->capabilities);
  return kind == "profile" && ReadProfile(line, &plan->profiles);
}

}  // namespace

std::string ShapeOption(const Shape& shape) {
  std::ostringstream text;
  for (std::size_t i = 0; i < shape.size(); ++i) text << (i == 0 ? "" : "x") << shape[i];
  return text.str();
}

std::string Plan::CapabilitiesText() const {
  std::ostringstream text;
  for (std::size_t i = 0; i < capabilities.size(); ++i) {
    text << (i == 0 ? "" : ", ") << CapabilityText(capabilities[i]);
  }
  return text.str();
}

bool Plan::Holds(int capability) const {
  return std::find(capabilities.begin(), capabilities.end(), capability) != capabilities.end();
}

void Plan::Check(const std::string& graph, const Bindings& inputs) const {
  for (const auto& [name, value] : inputs) {
    const auto profile = std::find_if(profiles.begin(), profiles.end(), [&, name = name](const Profile& one) {
      return one.graph == graph && one.tensor == name;
    });
    if (profile == profiles.end()) continue;
    const Shape shape = value.GetTensorTypeAndShapeInfo().GetShape();
    bool fits = shape.size() == profile->smallest.size();
    for (std::size_t i = 0; fits && i < shape.size(); ++i) {
      fits = profile->smallest[i] <= shape[i] && shape[i] <= profile->largest[i];
    }
    if (!fits) {
      throw InvalidArgument(
          Text(graph, ": ", name, " is ", Brackets(shape), ", the plan takes ", Brackets(profile->smallest),
               " to ", Brackets(profile->largest), ": ",
               profile->tensor == "pool"
                   ? "lower pool_bytes"
                   : "use smaller or fewer pages or a shorter query, or provider cuda, which "
                     "takes any size"));
    }
  }
}

Plan ReadPlan(const std::string& directory, const std::string& provider) {
  const std::string file = directory + "/" + provider + "/plan.txt";
  const std::string again = Text("ziprerank build ", directory, " --provider ", provider);
  const std::optional<std::string> content = ReadBundleFile(file, kMostBytes);
  if (!content) {
    throw BundleError(
        Text(file, " cannot be read: the provider ", provider, " needs a plan, build it with ", again));
  }
  Plan plan;
  std::istringstream stream(*content);
  std::string text;
  for (int number = 1; std::getline(stream, text); ++number) {
    std::istringstream line(text);
    std::string kind;
    line >> kind;
    if (number == 1) {
      int version = 0;
      if (kind != "ziprerank-plan" || !(line >> version)) {
        throw BundleError(Text(file, " is no plan: build it again with ", again));
      }
      if (version < 1 || version > kFormatVersion) {
        throw BundleError(Text(file, " has format version ", version, ", this engine reads 1 to ",
                               kFormatVersion, ": upgrade ziprerank, or build it again with ", again));
      }
    } else if (!ReadRecord(kind, line, &plan)) {
      throw BundleError(
          Text(file, ", line ", number, ": cannot read '", Excerpt(text), "': build it again with ", again));
    }
  }
  if (plan.builder.empty() || plan.capabilities.empty() || plan.profiles.empty()) {
    throw BundleError(Text(file, " names no builder, GPU or sizes: build it again with ", again));
  }
  return plan;
}

}  // namespace ziprerank
