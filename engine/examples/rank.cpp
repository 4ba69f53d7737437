// Ranks page images for one prompt, through the C++ API.
//
//   rank_cpp BUNDLE LIBONNXRUNTIME TOKENS PAGE.ppm...
//
// TOKENS is a text file of token ids with one image_pad token for each page; a page is a binary PPM (P6)
// whose sides are multiples of 32. Prints "index score" lines, best first.
#include <algorithm>
#include <cstdio>
#include <exception>
#include <fstream>
#include <iterator>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>
#include <ziprerank/engine.hpp>

struct Page {
  ziprerank::PageSize size;
  std::vector<std::uint8_t> pixels;  // RGB
};

static Page ReadPpm(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string magic;
  int most = 0;
  Page page;
  file >> magic >> page.size.width >> page.size.height >> most;
  file.get();  // the one white space before the pixels
  const bool known = file && magic == "P6" && most == 255 && page.size.width > 0 && page.size.height > 0 &&
                     page.size.width < 32768 && page.size.height < 32768;
  if (!known) throw std::runtime_error(path + " is not a binary PPM (P6) of 8 bits");
  page.pixels.resize(std::size_t{3} * static_cast<std::size_t>(page.size.width) *
                     static_cast<std::size_t>(page.size.height));
  file.read(reinterpret_cast<char*>(page.pixels.data()), static_cast<std::streamsize>(page.pixels.size()));
  if (!file) throw std::runtime_error(path + " is cut short");
  return page;
}

static ziprerank::Prompt ReadPrompt(const std::string& path) {
  std::ifstream file(path);
  ziprerank::Prompt prompt;
  prompt.ids.assign(std::istream_iterator<std::int64_t>(file), {});
  if (!file.eof() || prompt.ids.empty()) throw std::runtime_error(path + " is not a list of token ids");
  return prompt;
}

int main(int argc, char** argv) try {
  if (argc < 5) {
    std::fprintf(stderr, "usage: %s BUNDLE LIBONNXRUNTIME TOKENS PAGE.ppm...\n", argv[0]);
    return 2;
  }
  std::vector<Page> pages;
  std::vector<ziprerank::PageSize> sizes;
  for (int i = 4; i < argc; ++i) {
    pages.push_back(ReadPpm(argv[i]));
    sizes.push_back(pages.back().size);
  }
  const ziprerank::Prompt prompt = ReadPrompt(argv[3]);

  ziprerank::EngineOptions options;
  options.bundle = argv[1];
  options.runtime_library = argv[2];
  ziprerank::Engine engine(options);
  ziprerank::Window window = engine.window(sizes);
  for (std::size_t slot = 0; slot < pages.size(); ++slot) {
    window.encode(slot, {pages[slot].pixels.data(), sizes[slot].height, sizes[slot].width});
  }
  const ziprerank::WindowScores result = window.score(prompt, engine.info().keep_ratio);

  std::vector<std::size_t> order(result.scores.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&result](std::size_t a, std::size_t b) { return result.scores[a] > result.scores[b]; });
  for (const std::size_t index : order)
    std::printf("%zu %.6f\n", index, static_cast<double>(result.scores[index]));
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "rank_cpp: %s\n", error.what());
  return 1;
}
