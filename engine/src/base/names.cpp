// The names of providers and of what happens to blank paper, as texts: the one place that reads and writes
// them.
#include <array>
#include <charconv>
#include <utility>

#include "base/text.hpp"
#include "ziprerank/engine.hpp"

namespace ziprerank {
namespace {

constexpr std::array<std::pair<Provider, std::string_view>, 5> kProviders = {
    {{Provider::kAuto, "auto"},
     {Provider::kCpu, "cpu"},
     {Provider::kCuda, "cuda"},
     {Provider::kTensorRt, "tensorrt"},
     {Provider::kTensorRtRtx, "tensorrt-rtx"}}};

bool OnGpu(Provider provider) { return provider != Provider::kAuto && provider != Provider::kCpu; }

// The index in "0", "1", ...; -1 for any other text.
int ParseIndex(std::string_view text) {
  int index = -1;
  const char* const end = text.data() + text.size();
  const auto [last, error] = std::from_chars(text.data(), end, index);
  return error == std::errc() && last == end && index >= 0 ? index : -1;
}

}  // namespace

ProviderChoice ParseProvider(std::string_view text) {
  for (const auto& [provider, name] : kProviders) {
    if (text == name) return {provider, 0};
    if (!OnGpu(provider) || !text.starts_with(name) || !text.substr(name.size()).starts_with(':')) continue;
    if (const int index = ParseIndex(text.substr(name.size() + 1)); index >= 0) return {provider, index};
  }
  throw ProviderError(
      Text("provider '", text,
           "' is none of auto, cpu, cuda, tensorrt and tensorrt-rtx, the last three also with "
           "a device: cuda:N"));
}

std::string ProviderText(const ProviderChoice& choice) {
  for (const auto& [provider, name] : kProviders) {
    if (provider != choice.provider) continue;
    return choice.device_index == 0 ? std::string(name) : Text(name, ":", choice.device_index);
  }
  throw ProviderError(
      Text("provider ", static_cast<int>(choice.provider), " is no value of ziprerank::Provider"));
}

Blank ParseBlank(std::string_view text) {
  if (text.empty()) return Blank::kRecommended;
  if (text == "drop") return Blank::kDrop;
  if (text == "keep") return Blank::kKeep;
  throw InvalidArgument(Text("blank is '", text, "': give drop or keep, or nothing for the bundle's choice"));
}

}  // namespace ziprerank
