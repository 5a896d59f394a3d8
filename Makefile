# Rankwise. `make help` lists the targets; `make demo` and `make check` need nothing but a Debian 12 machine.
#
# ---- settings: change here, in config.mak, or on the command line ---------------------------------------------------
CC       := gcc
MARCH    ?= native
OPT      ?= -O3 -g -fno-math-errno -ffp-contract=fast
OPENMP   ?= -fopenmp
BUILD    ?= build
SANITIZE ?=
MPIRUN   ?= mpirun --oversubscribe
JOBS     ?= $(shell nproc)
FUZZ_SECONDS ?= 60
NVCC     ?= $(firstword $(shell command -v nvcc) $(wildcard /usr/local/cuda/bin/nvcc))
CUDA_ARCH ?= -gencode arch=compute_80,code=sm_80 -gencode arch=compute_90,code=[sm_90,compute_90]
V        ?= 0
# ----------------------------------------------------------------------------------------------------------------------
-include config.mak

PACKAGES := ompi-c hdf5 libconfig jansson libpcre2-8 zlib libzstd
WARNINGS := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla \
            -Wno-missing-field-initializers -Wno-unknown-pragmas
REVISION := $(shell git describe --always --dirty --tags 2>/dev/null || echo unknown)
CFLAGS   += -std=gnu11 -D_GNU_SOURCE $(OPT) -march=$(MARCH) $(OPENMP) -Iinclude -Isrc $(WARNINGS) $(SANITIZE) \
            $(if $(SANITIZE),-Wno-format-truncation -Wno-maybe-uninitialized) \
            $(shell pkg-config --cflags $(PACKAGES) 2>/dev/null)
LDLIBS   := $(shell pkg-config --libs $(PACKAGES) 2>/dev/null) -ldnnl -lm -ldl -lpthread
DATALIBS := $(shell pkg-config --libs $(filter-out ompi-c,$(PACKAGES)) 2>/dev/null) -lm -lpthread

SRC  := $(filter-out src/main.c,$(wildcard src/*/*.c))
# The GPU's checks and benchmark are for machines that have CUDA alone: they link the core, which is what includes none of
# these libraries' headers.
ifdef CORE_ONLY
SRC    := $(shell for file in $(SRC); do $(CC) -D_GNU_SOURCE -Iinclude -Isrc -M -MG $$file | \
                  grep -qE '(^|[ /])(mpi|hdf5|libconfig|jansson|pcre2|dnnl)\.h' || echo $$file; done)
LDLIBS := -lm -ldl -lpthread
CFLAGS += -DRANKWISE_CORE_ONLY
else
ROWS   := $(BUILD)/librankwise_rows.a
JQ     := -ljq
endif
programs = $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard $(1)))
TESTS   := $(call programs,tests/test_*.c)
BENCHES := $(call programs,tests/bench/*.c)
FUZZERS := $(call programs,tests/fuzz/fuzz_*.c)

say    = $(if $(filter 1,$(V)),,@printf '  %-3s %s\n' $(1) $@; )
object = $(patsubst %.c,$(BUILD)/%.o,$(1))

all: programs plugin ## the three programs and, where nvcc is, the CUDA plug-in
programs: $(BUILD)/rankwise $(BUILD)/rankwise-data $(BUILD)/rankwise-inspect
plugin: $(if $(NVCC),$(BUILD)/librankwise_cuda.so)
	$(if $(NVCC),,@echo 'no nvcc: the CUDA plug-in is left out (make NVCC=/path/to/nvcc)')

$(BUILD)/librankwise.a: $(call object,$(SRC))
# What the tests link of data_tools: the readers and the formats of rows.
$(BUILD)/librankwise_rows.a: $(call object,$(wildcard data_tools/reader*.c data_tools/format*.c))
$(BUILD)/%.a:
	@rm -f $@
	$(call say,AR)ar rcs $@ $^

LIBS  := $(BUILD)/librankwise.a
LINK  = $(CC) $(CFLAGS) -rdynamic -o $@ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group

$(BUILD)/rankwise: $(call object,src/main.c) $(LIBS)
	$(call say,LD)$(LINK) $(LDLIBS)
$(BUILD)/rankwise-data: $(call object,$(filter-out data_tools/inspect%.c,$(wildcard data_tools/*.c))) $(LIBS)
	$(call say,LD)$(LINK) $(DATALIBS) $(JQ)
$(BUILD)/rankwise-inspect: $(call object,$(wildcard data_tools/inspect*.c)) $(LIBS)
	$(call say,LD)$(LINK) $(filter-out -lconfig,$(DATALIBS))
$(BUILD)/tests/%: $(BUILD)/tests/%.o $(call object,$(wildcard tests/reference*.c) tests/gpu/session.c) $(ROWS) $(LIBS)
	$(call say,LD)$(LINK) $(LDLIBS) $(JQ)

# The CUDA backend, a plug-in: the program itself links none of this.
CUDA_FLAGS := -std=c++17 -O3 -lineinfo -Iinclude -Icuda $(CUDA_ARCH) -Xcompiler -fPIC,-fvisibility=hidden,-Wall,-Wextra
$(BUILD)/librankwise_cuda.so: $(patsubst cuda/%.cu,$(BUILD)/cuda/%.o,$(wildcard cuda/*.cu))
	$(call say,LD)$(NVCC) -shared $(CUDA_ARCH) -o $@ $^ -lcublas -lcublasLt -lnccl -Xlinker -rpath=$(abspath $(dir $(NVCC))../lib64)
$(BUILD)/cuda/%.o: cuda/%.cu
	@mkdir -p $(@D)
	$(call say,CU)$(NVCC) $(CUDA_FLAGS) $(DEFINE) -MMD -MP -c -o $@ $<

include tests/emulated_cuda/emulated.mk

# Written only when they change, so that a commit costs one object and the links. A plug-in is of the same build when
# what stands between it and the program has the same digest; one that has not goes.
SEAM := $(shell cat $(foreach noun,answer_loss backend base comm comparison_loss completion_loss log logistic memory nf4 policy_loss ranking_loss sampling tensor,include/$(noun).h) | sha256sum | cut -c 1-16)
$(BUILD)/revision: STAMP = $(REVISION)
$(BUILD)/seam: STAMP = $(SEAM)
$(BUILD)/seam: STALE = rm -f $(BUILD)/librankwise_cuda.so;
$(BUILD)/revision $(BUILD)/seam: force
	@mkdir -p $(@D); echo '$(STAMP)' | cmp -s - $@ || { $(STALE) echo '$(STAMP)' > $@; }
$(BUILD)/src/base/base.o: $(BUILD)/revision
$(BUILD)/src/base/base.o: DEFINE = -DREVISION='"$(REVISION)"'
SEAM_OBJECTS := $(BUILD)/src/ranks/loader.o $(BUILD)/cuda/device.o $(EMULATED:%=%/cuda/device.cu.o)
$(SEAM_OBJECTS): $(BUILD)/seam
$(SEAM_OBJECTS): DEFINE = -DSEAM_DIGEST='"$(SEAM)"'

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(CFLAGS) $(DEFINE) -MMD -MP -c -o $@ $<
# Their texts stand in the programs.
$(BUILD)/data_tools/reader_parquet.o: data_tools/parquet_rows.py
$(BUILD)/data_tools/format_programs.o: $(wildcard configs/mappings/*.jq)
$(BUILD)/src/judges/prompt_family_list.o: $(wildcard judges/*.jinja)

# What needs packages goes through a second make, which sees what `deps` has installed.
AGAIN = +@$(MAKE) --no-print-directory $(if $(filter -j%,$(MAKEFLAGS)),,-j$(JOBS))
# Open MPI refuses root without these two; here alone, so that nobody's own mpirun is changed.
demo demo-judge check check-long sanitize bench tests-run: export OMPI_ALLOW_RUN_AS_ROOT = 1
demo demo-judge check check-long sanitize bench tests-run: export OMPI_ALLOW_RUN_AS_ROOT_CONFIRM = 1

deps: ## install what is missing (apt-get, as root or with sudo); elsewhere say what to install
	@.ci/deps
demo: deps ## train, evaluate, export and score a small model; about a minute
	$(AGAIN) programs
	@MPIRUN='$(MPIRUN)' BUILD=$(BUILD) .ci/demo
demo-judge: deps ## train a small judge that writes its scores, by GRPO, and ask it; some minutes
	$(AGAIN) programs
	@MPIRUN='$(MPIRUN)' BUILD=$(BUILD) .ci/demo_judge
check: deps ## every test; the last line counts them
	$(AGAIN) tests-run
check-long: deps ## also the tests that take minutes
	$(AGAIN) tests-run TIER=long
sanitize: deps ## the same tests with AddressSanitizer and UBSan
	$(AGAIN) tests-run BUILD=$(BUILD)/sanitize OPT='-O1 -g' SANITIZE='-fsanitize=address,undefined -fno-omit-frame-pointer'
tests-run: programs $(TESTS) $(PLANTED) $(BUILD)/emulated/librankwise_cuda.so $(BUILD)/emulated/ptx_layout \
           $(if $(filter long,$(TIER)),$(BUILD)/emulated-races/librankwise_cuda.so)
	@MPIRUN='$(MPIRUN)' BUILD=$(BUILD) TIER=$(TIER) tests/run.sh
bench: deps ## measure the figures of README.md
	$(AGAIN) bench-run
bench-run: programs $(BENCHES) $(BUILD)/tests/test_model
	@set -e; for program in $(BENCHES); do echo "== $${program##*/}"; $$program; done
	@echo '== figures'; MPIRUN='$(MPIRUN)' BUILD=$(BUILD) tests/bench/figures.sh
PLUGIN ?= $(BUILD)/librankwise_cuda.so
GPU_TESTS := $(BUILD)/tests/ptx_layout $(patsubst %,$(BUILD)/tests/test_%,matmul linear_rows ops attention paged comparisons rankings loss_cases losses nf4 lm_head policy sample)
CUPTI := $(patsubst %/cupti.h,%,$(firstword $(wildcard $(NVCC:/bin/nvcc=/include/cupti.h) /usr/local/cuda/include/cupti.h)))
check-gpu: $(PLUGIN) ## on a GPU, with CUDA alone: every op, losses, compute-sanitizer
	$(AGAIN) check-gpu-run BUILD=$(BUILD)/gpu CORE_ONLY=1 PLUGIN=$(PLUGIN)
$(BUILD)/tests/ptx_layout: tests/gpu/ptx_layout.cu cuda/ptx.h cuda/gpu.h
	@mkdir -p $(@D)
	$(call say,CU)$(NVCC) $(CUDA_FLAGS) -o $@ $<
check-gpu-run: $(GPU_TESTS)
	@BUILD=$(BUILD) RANKWISE_PLUGIN=$(PLUGIN) tests/gpu/check.sh $(notdir $(GPU_TESTS))
bench-gpu: $(PLUGIN) ## on a GPU: its figures, beside torch's where python3 (PYTHON=) has it
	$(AGAIN) bench-gpu-run BUILD=$(BUILD)/gpu CORE_ONLY=1 PLUGIN=$(PLUGIN)
bench-gpu-run: $(BUILD)/tests/gpu/bench_gpu
	@BUILD=$(BUILD) RANKWISE_PLUGIN=$(PLUGIN) tests/gpu/bench.sh $(BENCH_GPU)
$(BUILD)/tests/gpu/bench_gpu: $(call object,tests/gpu/bench_gpu.c tests/gpu/session.c tests/gpu/kernel_time.c) $(LIBS)
	$(call say,LD)$(LINK) $(LDLIBS) $(if $(CUPTI),-L$(CUPTI)/../lib64 -L$(CUPTI)/../lib -lcupti)
$(BUILD)/tests/gpu/kernel_time.o: DEFINE = $(if $(CUPTI),-DRANKWISE_CUPTI -I$(CUPTI))

fuzz: deps ## each fuzz target for FUZZ_SECONDS, with clang's libFuzzer
	@mkdir -p $(BUILD)/fuzz/omp # clang's omp.h is a package of its own, and gcc's has an attribute that clang does not know
	@sed 's/__malloc__ (omp_free)/__malloc__/' $$(gcc -print-file-name=include/omp.h) >$(BUILD)/fuzz/omp/omp.h
	$(AGAIN) fuzz-run BUILD=$(BUILD)/fuzz CC=clang OPT='-O1 -g' WARNINGS=-w \
	    SANITIZE='-fsanitize=fuzzer-no-link,address,undefined' OPENMP='-I$(BUILD)/fuzz/omp -lgomp'
fuzz-run: LINK += -fsanitize=fuzzer
fuzz-run: $(FUZZERS)
	@BUILD=$(BUILD) FUZZ_SECONDS=$(FUZZ_SECONDS) tests/fuzz/run.sh
format: ## clang-format over everything
	clang-format -i $$(git ls-files '*.c')
clean: ## remove build/
	rm -rf build
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
.SECONDARY:
.DELETE_ON_ERROR:
.PHONY: force all programs plugin deps demo demo-judge check check-long sanitize tests-run bench bench-run check-gpu check-gpu-run bench-gpu bench-gpu-run fuzz fuzz-run format clean help
