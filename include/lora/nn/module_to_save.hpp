// SPDX-License-Identifier: MIT
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <lora/error.hpp>
#include <lora/nn/adapted_module.hpp>
#include <lora/nn/module.hpp>

namespace lora::inline v0 {

/// A module that an adapter trains whole, on a copy of its own: LoRAConfig::modules_to_save. While
/// the adapter is not active, or the layer is disabled, the original runs, which never changes.
template <class T>
class ModuleToSave final : public AdaptedModule<T> {
 public:
  explicit ModuleToSave(std::shared_ptr<Module<T>> original) : original_(std::move(original)) {
    train(original_->training());
  }

  const Module<T>& original() const noexcept { return *original_; }

  /// Adds the copy, original().clone(), that the adapter of that name trains. Throws ValueError
  /// when it has one.
  void insert(const std::string& name, std::shared_ptr<Module<T>> copy) {
    for (const Copy& other : copies_) {
      if (other.name != name) continue;
      throw ValueError("ModuleToSave: there already is an adapter named \"" + name + "\"");
    }
    copies_.push_back({name, std::move(copy)});
  }

  std::vector<std::string> adapter_names() const override {
    std::vector<std::string> names;
    for (const Copy& copy : copies_) names.push_back(copy.name);
    return names;
  }

  void set_active(const std::vector<std::string>& names) override {
    std::shared_ptr<Module<T>> chosen;
    for (const std::string& name : names) {
      for (const Copy& copy : copies_) {
        if (copy.name != name) continue;
        if (chosen) {
          throw ValueError(to_string() +
                           ": two adapters with a copy of this module cannot be active");
        }
        chosen = copy.module;
      }
    }
    active_ = std::move(chosen);
  }

  void remove_adapter(const std::string& name) override {
    std::erase_if(copies_, [&](const Copy& copy) {
      if (copy.name != name) return false;
      if (active_ == copy.module) active_.reset();
      return true;
    });
  }

  void adapter_parameters(const std::string& name,
                          typename Module<T>::ParameterVisitor visit) override {
    for (const Copy& copy : copies_) {
      if (copy.name == name) show(*copy.module, "modules_to_save." + name + ".", visit);
    }
  }

  void own_parameters(typename Module<T>::ParameterVisitor visit) override {
    show(*original_, "", visit);
    for (const Copy& copy : copies_) adapter_parameters(copy.name, visit);
  }

  void own_buffers(typename Module<T>::BufferVisitor visit) override {
    original_->for_each_buffer(visit);
    for (const Copy& copy : copies_) copy.module->for_each_buffer(visit);
  }

  void train(bool mode = true) override {
    Module<T>::train(mode);
    original_->train(mode);
    for (const Copy& copy : copies_) copy.module->train(mode);
  }

  std::string to_string() const override { return "ModuleToSave(" + original_->to_string() + ")"; }
  bool fuses_relu() const override { return current().fuses_relu(); }

 private:
  struct Copy {
    std::string name;
    std::shared_ptr<Module<T>> module;
  };

  static void show(Module<T>& module, const std::string& prefix,
                   typename Module<T>::ParameterVisitor visit) {
    for (const NamedParameter<T>& named : module.named_parameters()) {
      visit((prefix + named.name).c_str(), *named.parameter);
    }
  }

  Module<T>& current() const { return this->enabled() && active_ ? *active_ : *original_; }

  const Tensor<T>& do_forward(const Tensor<T>& x, Saved<T>& saved) const override {
    return current().forward(x, saved);
  }
  void do_backward(const Tensor<T>& dy, Saved<T>& saved, Tensor<T>* dx) override {
    current().backward(dy, saved, dx);
  }

  void require_rows_can_differ() const override {
    throw ValueError(to_string() + ": rows of one batch cannot use different copies of a module");
  }

  std::shared_ptr<Module<T>> original_;
  std::vector<Copy> copies_;
  std::shared_ptr<Module<T>> active_;  // null: the original
};

}  // namespace lora::inline v0
