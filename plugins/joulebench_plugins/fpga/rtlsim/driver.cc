// Drives the compiled engine through one product: activations in, start, beats of weights, results
// out. The loop over cycles is here, since a call from Python for each would cost 100 times as much.
//
// GEMV_LANES and GEMV_BEAT_BYTES (bytes of weights in a beat) are defined by the build.

#include <cstdint>
#include <cstring>

#ifdef GEMV_VERILATOR
#include "verilator_ports.h"
#else
#include "cxxrtl_ports.h"
#endif

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "lanes are copied as they lie in memory");

// The same fields stand in compiled.py.
struct Job {
  const uint8_t *weights;
  const uint8_t *x;
  const uint16_t *multipliers;  // null: nothing is requantized
  const uint8_t *shifts;
  int32_t *accumulators;
  int8_t *outputs;
  uint64_t expected;  // results that there is room for
  uint64_t limit_cycles;
  uint32_t rows;
  uint32_t row_beats;
  uint32_t group_beats;
  uint32_t beats_num;
  uint32_t beats_den;
  uint32_t cycles;  // out: the engine's own counters
  uint32_t stalls;
};

enum Outcome : int { kDone = 0, kNeverEnds = 1, kWrongCount = 2 };

namespace {

void write_activations(Ports &engine, const Job &job) {
  engine.x_write(true);
  for (uint32_t beat = 0; beat < job.row_beats; ++beat) {
    engine.x_address(beat);
    engine.x_data(job.x + size_t(beat) * GEMV_LANES, GEMV_LANES);
    engine.clock();
  }
  engine.x_write(false);
}

void start(Ports &engine, const Job &job) {
  engine.shape(job.rows, job.row_beats, job.group_beats);
  engine.start(true);
  engine.clock();
  engine.start(false);
}

// Memory that grants beats_num beats in beats_den cycles, evenly (law.py).
class Memory {
 public:
  Memory(uint32_t num, uint32_t den) : num_(num), den_(den) {}
  bool granted() { return (credit_ += num_) >= den_; }
  void taken() { credit_ -= den_; }

 private:
  uint64_t num_, den_, credit_ = 0;
};

}  // namespace

extern "C" void *gemv_new() { return new Ports; }

extern "C" void gemv_delete(void *engine) { delete static_cast<Ports *>(engine); }

extern "C" int gemv_run(void *handle, Job *job) {
  Ports &engine = *static_cast<Ports *>(handle);
  write_activations(engine, *job);
  start(engine, *job);

  Memory memory(job->beats_num, job->beats_den);
  const uint64_t beats = uint64_t(job->rows) * job->row_beats;
  uint64_t sent = 0, results = 0, cycle = 0;
  uint32_t row = 0, left_in_row = job->row_beats;
  for (; engine.busy() && cycle < job->limit_cycles; ++cycle) {
    if (engine.y_valid()) {
      if (results < job->expected) {
        job->accumulators[results] = engine.y_acc();
        job->outputs[results] = engine.y_q();
      }
      ++results;
    }
    const bool valid = memory.granted() && sent < beats;
    engine.w_valid(valid);
    if (valid) {
      engine.w_data(job->weights + sent * GEMV_BEAT_BYTES, GEMV_BEAT_BYTES);
      // Only the beat that ends a row has a scale; others carry what would spoil a result.
      const bool ends = left_in_row == 1 && job->multipliers != nullptr;
      engine.scale(ends ? job->multipliers[row] : 0xffff, ends ? job->shifts[row] : 1);
      if (engine.w_ready()) {
        memory.taken();
        ++sent;
        if (--left_in_row == 0) {
          left_in_row = job->row_beats;
          ++row;
        }
      }
    }
    engine.clock();
  }
  engine.w_valid(false);
  job->cycles = engine.cycles();
  job->stalls = engine.stalls();
  if (engine.busy()) return kNeverEnds;
  return results == job->expected ? kDone : kWrongCount;
}
