# Rankwise. `make help` lists the targets; `make demo` and `make check` need nothing but a Debian 12 machine.
#
# ---- settings: change here, in config.mak, or on the command line ---------------------------------------------------
CC       := gcc
MARCH    ?= native
OPT      ?= -O3 -g -fno-math-errno -ffp-contract=fast
BUILD    ?= build
SANITIZE ?=
V        ?= 0
# ----------------------------------------------------------------------------------------------------------------------
-include config.mak

PACKAGES := ompi-c hdf5 libconfig jansson libpcre2-8 zlib
WARNINGS := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla \
            -Wno-missing-field-initializers -Wno-unknown-pragmas
REVISION := $(shell git describe --always --dirty --tags 2>/dev/null || echo unknown)
CFLAGS   += -std=gnu11 -D_GNU_SOURCE $(OPT) -march=$(MARCH) -fopenmp -Iinclude $(WARNINGS) $(SANITIZE) \
            $(if $(SANITIZE),-Wno-format-truncation -Wno-maybe-uninitialized) \
            $(shell pkg-config --cflags $(PACKAGES) 2>/dev/null)
LDLIBS   := $(shell pkg-config --libs ompi-c 2>/dev/null) $(shell pkg-config --libs hdf5 libconfig jansson libpcre2-8 zlib 2>/dev/null) \
            -ldnnl -lm -ldl -lpthread
DATALIBS := $(shell pkg-config --libs hdf5 jansson libpcre2-8 zlib 2>/dev/null) -lm -lpthread

# The core needs no MPI, HDF5, libconfig or oneDNN; the rest may use them (docs/architecture.md).
CORE := src/base/base.c src/base/log.c src/base/memory.c src/base/clock.c src/base/random.c src/data/forest.c \
        src/data/plan.c src/model/parameters.c src/model/ops.c src/model/tensor.c src/model/block.c src/model/model.c \
        src/parallel/zero.c src/train/loss.c src/train/optimizer.c
SRC  := $(filter-out src/main.c $(CORE),$(wildcard src/*/*.c))
TESTS := $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/test_*.c))

say    = $(if $(filter 1,$(V)),,@printf '  %-3s %s\n' $(1) $@; )
object = $(patsubst %.c,$(BUILD)/%.o,$(1))

all: $(BUILD)/rankwise $(BUILD)/rankwise-data $(BUILD)/rankwise-inspect

$(BUILD)/librankwise_core.a: $(call object,$(wildcard $(CORE)))
$(BUILD)/librankwise.a: $(call object,$(SRC))
$(BUILD)/%.a:
	@rm -f $@
	$(call say,AR)ar rcs $@ $^

LIBS := $(BUILD)/librankwise.a $(BUILD)/librankwise_core.a
LINK  = $(CC) $(CFLAGS) -o $@ $(filter %.o,$^) -Wl,--start-group $(LIBS) -Wl,--end-group

$(BUILD)/rankwise: $(call object,src/main.c) $(LIBS)
	$(call say,LD)$(LINK) $(LDLIBS)
$(BUILD)/rankwise-data: $(call object,$(filter-out data_tools/inspect%.c,$(wildcard data_tools/*.c))) $(LIBS)
	$(call say,LD)$(LINK) $(DATALIBS)
$(BUILD)/rankwise-inspect: $(call object,$(wildcard data_tools/inspect*.c)) $(LIBS)
	$(call say,LD)$(LINK) $(DATALIBS)
$(BUILD)/tests/test_%: $(BUILD)/tests/test_%.o $(call object,$(wildcard tests/reference*.c)) $(LIBS)
	$(call say,LD)$(LINK) $(LDLIBS)

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(CFLAGS) $(if $(findstring base/base.c,$<),-DREVISION='"$(REVISION)"') -MMD -MP -c -o $@ $<

-include $(wildcard $(BUILD)/*/*.d $(BUILD)/*/*/*.d)
.SECONDARY:
.PHONY: all
