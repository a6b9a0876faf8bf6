// The engine as CXXRTL compiles it. gemv.cc is generated.
#pragma once

#include "gemv.cc"

class Ports {
 public:
  // The step of the falling edge brings outputs up to date that are logic behind registers.
  void clock() {
    top_.p_clk.set<bool>(true);
    top_.step();
    top_.p_clk.set<bool>(false);
    top_.step();
  }

  void x_write(bool on) { top_.p_x__write.set<bool>(on); }
  void x_address(uint32_t beat) { top_.p_x__address.set<uint32_t>(beat); }
  void x_data(const uint8_t *bytes, size_t size) { load(top_.p_x__data, bytes, size); }
  void shape(uint32_t rows, uint32_t row_beats, uint32_t group_beats) {
    top_.p_rows.set<uint32_t>(rows);
    top_.p_row__beats.set<uint32_t>(row_beats);
    top_.p_group__beats.set<uint32_t>(group_beats);
  }
  void start(bool on) { top_.p_start.set<bool>(on); }
  void w_valid(bool on) { top_.p_w__valid.set<bool>(on); }
  bool w_ready() { return top_.p_w__ready.get<bool>(); }
  void w_data(const uint8_t *bytes, size_t size) { load(top_.p_w__data, bytes, size); }
  void scale(uint32_t multiplier, uint32_t shift) {
    top_.p_multiplier.set<uint32_t>(multiplier);
    top_.p_shift.set<uint32_t>(shift);
  }
  bool y_valid() { return top_.p_y__valid.get<bool>(); }
  int32_t y_acc() { return int32_t(top_.p_y__acc.get<uint32_t>()); }
  int8_t y_q() { return int8_t(top_.p_y__q.get<uint8_t>()); }
  bool busy() { return top_.p_busy.get<bool>(); }
  uint32_t cycles() { return top_.p_cycles.get<uint32_t>(); }
  uint32_t stalls() { return top_.p_stalls.get<uint32_t>(); }

 private:
  // A port's bits lie in 32-bit chunks, the lowest first; those above its width stay 0.
  template <class Port>
  static void load(Port &port, const uint8_t *bytes, size_t size) {
    std::memcpy(port.data, bytes, size);
  }

  cxxrtl_design::p_gemv top_;
};
