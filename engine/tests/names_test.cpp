#include "check.hpp"
#include "ziprerank/engine.hpp"

namespace ziprerank {

TEST(names_of_providers_are_read_and_written) {
  const std::pair<const char*, ProviderChoice> names[] = {{"auto", {Provider::kAuto, 0}},
                                                          {"cpu", {Provider::kCpu, 0}},
                                                          {"cuda", {Provider::kCuda, 0}},
                                                          {"cuda:1", {Provider::kCuda, 1}},
                                                          {"tensorrt", {Provider::kTensorRt, 0}},
                                                          {"tensorrt:12", {Provider::kTensorRt, 12}},
                                                          {"tensorrt-rtx", {Provider::kTensorRtRtx, 0}},
                                                          {"tensorrt-rtx:3", {Provider::kTensorRtRtx, 3}}};
  for (const auto& [text, choice] : names) {
    const ProviderChoice read = ParseProvider(text);
    CHECK(read.provider == choice.provider && read.device_index == choice.device_index);
    CHECK(ProviderText(choice) == text);
  }
  CHECK(ParseProvider("cuda:0").device_index == 0);
  for (const char* text : {"", "tpu", "CUDA", "cuda:", "cuda:x", "cuda:-1", "cuda:1x", "cuda:99999999999",
                           "cpu:1", "auto:0", "tensorrt-", "cuda 1"}) {
    CHECK_THROWS(kProvider, "is none of auto, cpu, cuda, tensorrt and tensorrt-rtx", ParseProvider(text));
  }
  CHECK_THROWS(kProvider, "provider 9 is no value", ProviderText({static_cast<Provider>(9), 0}));
}

TEST(names_of_what_happens_to_blank_paper) {
  CHECK(ParseBlank("") == Blank::kRecommended);
  CHECK(ParseBlank("drop") == Blank::kDrop);
  CHECK(ParseBlank("keep") == Blank::kKeep);
  CHECK_THROWS(kInvalidArgument, "blank is 'skip': give drop or keep", ParseBlank("skip"));
}

}  // namespace ziprerank
