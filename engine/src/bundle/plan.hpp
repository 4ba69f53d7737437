// plan.txt, which `ziprerank build` writes beside graphs that it built ahead of time (docs/bundle.md, plans).
#ifndef ZIPRERANK_PLAN_HPP_
#define ZIPRERANK_PLAN_HPP_

#include <string>
#include <vector>

#include "ort/graph_run.hpp"

namespace ziprerank {

struct Plan {
  // The sizes that one tensor of a graph may have.
  struct Profile {
    std::string graph;
    std::string tensor;
    Shape smallest;
    Shape usual;
    Shape largest;
  };

  std::string builder;            // "TensorRT-RTX 1.7.1.116"
  std::string precision;          // bf16 | fp16 | fp8
  std::vector<int> capabilities;  // 89 is 8.9
  std::vector<Profile> profiles;

  // "8.9, 12.0"
  std::string CapabilitiesText() const;
  bool Holds(int capability) const;
  // InvalidArgument when an input of `graph` is outside its profile.
  void Check(const std::string& graph, const Bindings& inputs) const;
};

// The plan of `provider` in the bundle `directory`. BundleError when there is none, or its text cannot be
// read.
Plan ReadPlan(const std::string& directory, const std::string& provider);

// A shape in the form of ONNX Runtime's options: "3x256".
std::string ShapeOption(const Shape& shape);

}  // namespace ziprerank

#endif  // ZIPRERANK_PLAN_HPP_
