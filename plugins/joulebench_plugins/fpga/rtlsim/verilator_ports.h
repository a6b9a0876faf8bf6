// The engine as Verilator compiles it. Vgemv.h is generated.
#pragma once

#include "Vgemv.h"
#include "verilated.h"

class Ports {
 public:
  // An edge is one only after a first evaluation.
  Ports() {
    top_.clk = 0;
    top_.eval();
  }

  void clock() {
    top_.clk = 1;
    top_.eval();
    top_.clk = 0;
    top_.eval();
  }

  void x_write(bool on) { top_.x_write = on; }
  void x_address(uint32_t beat) { top_.x_address = beat; }
  void x_data(const uint8_t *bytes, size_t size) { std::memcpy(&top_.x_data, bytes, size); }
  void shape(uint32_t rows, uint32_t row_beats, uint32_t group_beats) {
    top_.rows = rows;
    top_.row_beats = row_beats;
    top_.group_beats = group_beats;
  }
  void start(bool on) { top_.start = on; }
  void w_valid(bool on) { top_.w_valid = on; }
  bool w_ready() { return top_.w_ready; }
  void w_data(const uint8_t *bytes, size_t size) { std::memcpy(&top_.w_data, bytes, size); }
  void scale(uint32_t multiplier, uint32_t shift) {
    top_.multiplier = multiplier;
    top_.shift = shift;
  }
  bool y_valid() { return top_.y_valid; }
  int32_t y_acc() { return int32_t(top_.y_acc); }
  int8_t y_q() { return int8_t(top_.y_q); }
  bool busy() { return top_.busy; }
  uint32_t cycles() { return top_.cycles; }
  uint32_t stalls() { return top_.stalls; }

 private:
  VerilatedContext context_;
  Vgemv top_{&context_};
};
