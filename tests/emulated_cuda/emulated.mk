# build/emulated/librankwise_cuda.so: cuda/*.cu compiled for the host. The same with AddressSanitizer and UBSan
# (emulated-address) and with the thread sanitizer as race checker (emulated-races). README.md here says how to use them.
EMULATED_CXX   ?= g++
EMULATED_FLAGS := -std=c++17 -O2 -g -march=$(MARCH) -fno-strict-aliasing -ffp-contract=off -fPIC -fvisibility=hidden \
                  -Wall -Wextra -Werror -Wshadow -Wno-missing-field-initializers -Wno-unknown-pragmas -Wno-unused-parameter \
                  -DRANKWISE_EMULATED -Itests/emulated_cuda/include -Iinclude -Isrc
EMULATED_ADDRESS := -O1 -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer \
                    -Wno-maybe-uninitialized
EMULATED_CC    := $(wildcard tests/emulated_cuda/*.cc)
SANITIZED      := $(SANITIZE) $(if $(SANITIZE),-Wno-maybe-uninitialized)
MPI_FLAGS      := -DOMPI_SKIP_MPICXX $(shell pkg-config --cflags ompi-c 2>/dev/null)
EMULATED       := $(BUILD)/emulated $(BUILD)/emulated-address $(BUILD)/emulated-races

# $(1): the folder; $(2): options for kernels; $(3): for the emulation's own files, which race checkers leave alone
define emulated_variant
$(1)/%.cu.o: %.cu
	@mkdir -p $$(@D)
	$$(call say,CXX)$$(EMULATED_CXX) $$(EMULATED_FLAGS) $(2) $$(DEFINE) -MMD -MP -x c++ -c -o $$@ $$<
$(1)/%.cc.o: %.cc
	@mkdir -p $$(@D)
	$$(call say,CXX)$$(EMULATED_CXX) $$(EMULATED_FLAGS) $(3) $$(MPI_FLAGS) $$(DEFINE) -MMD -MP -c -o $$@ $$<
$(1)/librankwise_cuda.so: $(patsubst %,$(1)/%.o,$(wildcard cuda/*.cu) $(EMULATED_CC)) tests/emulated_cuda/exports.map
	$$(call say,LD)$$(EMULATED_CXX) $(2) -shared -Wl,--version-script=tests/emulated_cuda/exports.map -o $$@ $$(filter %.o,$$^) $$(shell pkg-config --libs ompi-c) -lm
$(1)/planted: $(patsubst %,$(1)/%.o,$(wildcard tests/emulated_cuda/planted/*.cu) $(EMULATED_CC))
	$$(call say,LD)$$(EMULATED_CXX) $(2) -o $$@ $$^ $$(shell pkg-config --libs ompi-c) -lm
$(1)/tests/emulated_cuda/planted/host.cu.o: DEFINE = $$(MPI_FLAGS)
$(1)/tests/emulated_cuda/blas.cc.o: DEFINE = -O3 -ffp-contract=fast
endef
$(eval $(call emulated_variant,$(BUILD)/emulated,$(SANITIZED),$(SANITIZED)))
$(eval $(call emulated_variant,$(BUILD)/emulated-address,$(EMULATED_ADDRESS),$(EMULATED_ADDRESS)))
$(eval $(call emulated_variant,$(BUILD)/emulated-races,-O1 -fsanitize=thread -Wno-maybe-uninitialized,-DEMULATED_TSAN))

# What cuda/ptx.h says, against PTX's own tables: ptx.sh, and on a GPU make check-gpu.
$(BUILD)/emulated/ptx_layout: $(BUILD)/emulated/tests/gpu/ptx_layout.cu.o $(EMULATED_CC:%=$(BUILD)/emulated/%.o)
	$(call say,LD)$(EMULATED_CXX) $(SANITIZE) -o $@ $^ $(shell pkg-config --libs ompi-c) -lm

# Bugs on purpose, in the three builds: what planted.sh runs.
PLANTED := $(EMULATED:%=%/planted)
