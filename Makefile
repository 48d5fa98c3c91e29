# SPDX-License-Identifier: Apache-2.0
#
# carom's one Makefile. Everything it makes is under build/; `make help` lists what it can do.
#
# Variables: V=1 shows the commands. CC, CFLAGS, LDFLAGS as usual. PYTHON is the interpreter from
# which build/venv is made (default python3, then /usr/bin/python3). PREFIX, LIBDIR, INCLUDEDIR and
# DESTDIR are for install.
#
# Set-up is a prerequisite like any other: build/setup/*.stamp say that this machine's packages
# have been looked at (tools/setup), build/venv/.* what has been installed into the environment.

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules --no-print-directory

ifeq ($(origin CC),default)
CC := gcc
endif
ifeq ($(origin CXX),default)
CXX := g++
endif
CFLAGS ?= -O2 -g
PYTHON ?= python3
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include

V ?= 0
ifeq ($(V),0)
Q := @
say = @printf '  %-8s %s\n' '$(1)' '$(2)'
else
Q :=
say = @:
endif

version_part = $(shell sed -n 's/^.define CAROM_VERSION_$(1) //p' include/carom.h)
VERSION := $(call version_part,MAJOR).$(call version_part,MINOR).$(call version_part,PATCH)
SONAME := libcarom.so.0

WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wundef
BASE_FLAGS := -std=gnu11 -D_GNU_SOURCE -pthread $(WARNINGS) -Iinclude -MMD -MP
LIB_FLAGS := -fPIC -fvisibility=hidden -DCAROM_BUILD

# gcc's TSan does not model fences and warns about each of them.
VARIANTS := plain asan tsan
FLAGS_plain :=
FLAGS_asan := -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
FLAGS_tsan := -O1 -fno-omit-frame-pointer -fsanitize=thread -Wno-tsan

LIB_SOURCES := $(sort $(wildcard lib/*.c))
TEST_SOURCES := $(sort $(wildcard tests/unit/test_*.c))
TEST_SUPPORT := $(filter-out $(TEST_SOURCES),$(sort $(wildcard tests/unit/*.c)))
E2E_SOURCES := $(sort $(wildcard tests/e2e/*.c))
BENCH_SOURCES := $(sort $(wildcard bench/*.c))
EXAMPLE_SOURCES := $(sort $(wildcard examples/*/*.c))

E2E_PROGRAMS := $(E2E_SOURCES:%.c=build/%)
BENCH_PROGRAMS := $(BENCH_SOURCES:%.c=build/%)
EXAMPLE_PROGRAMS := $(EXAMPLE_SOURCES:%.c=build/%)

VENV := build/venv
BENCH_VENV := build/bench/venv
pip_of = $(1)/bin/python -m pip --disable-pip-version-check --no-input
PIP := $(call pip_of,$(VENV))
PACKAGE_SOURCES := $(shell find python lib include -name build -prune -o -name requirements -prune \
    -o -name '*.egg-info' -prune -o -name __pycache__ -prune -o -type f -print)

## ---- what it makes

.PHONY: all
all: build/libcarom.a build/libcarom.so build/carom.pc ## libcarom.a, libcarom.so, carom.pc

.PHONY: package
package: $(VENV)/.carom ## the Python package, installed into build/venv

.PHONY: examples
examples: $(EXAMPLE_PROGRAMS) ## the programs under examples/

.PHONY: demo
demo: examples $(VENV)/.carom $(VENV)/.demo ## a photograph goes to Python and back; see build/demo/
	$(Q)examples/photo/run

.PHONY: install
install: all ## copies library, header and carom.pc to $(DESTDIR)$(PREFIX)
	$(call say,INSTALL,$(DESTDIR)$(PREFIX))
	$(Q)install -d $(DESTDIR)$(LIBDIR)/pkgconfig $(DESTDIR)$(INCLUDEDIR)
	$(Q)install -m 644 include/*.h $(DESTDIR)$(INCLUDEDIR)
	$(Q)install -m 644 build/libcarom.a $(DESTDIR)$(LIBDIR)
	$(Q)install -m 755 build/libcarom.so.$(VERSION) $(DESTDIR)$(LIBDIR)
	$(Q)ln -sf libcarom.so.$(VERSION) $(DESTDIR)$(LIBDIR)/$(SONAME)
	$(Q)ln -sf $(SONAME) $(DESTDIR)$(LIBDIR)/libcarom.so
	$(Q)install -m 644 build/carom.pc $(DESTDIR)$(LIBDIR)/pkgconfig

.PHONY: clean
clean: ## removes everything that was built, the environment included
	$(Q)rm -rf build

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^## ---- /{ printf "\n%s\n", substr($$0, 9) } \
	    /^[a-z][a-z0-9-]*:.*## /{ printf "  make %-12s %s\n", $$1, $$2 }' Makefile

## ---- proof

# tests/run.py builds what it runs by calling make for each part by itself, so that a part that does
# not build does not keep the others from running. Its last line is "N passed, N failed".
RUN = $(Q)MAKE='$(MAKE)' "$$(cat build/setup/python)" tests/run.py

.PHONY: test
test: ## every test; the last line is "N passed, N failed"
	$(Q)$(MAKE) setup || { echo '0 passed, 1 failed'; exit 1; }
	$(RUN) unit asan tsan e2e instructions proof

# ONLY= chooses suites: make proof ONLY=crash,storm
.PHONY: proof
proof: setup ## the long run of every suite of the proof; build/proof/summary.json
	$(Q)MAKE='$(MAKE)' "$$(cat build/setup/python)" tests/proof/prove.py --scale long \
	    --only '$(ONLY)'

.PHONY: test-unit test-asan test-tsan test-e2e test-proof
test-unit: setup ## unit tests of every C file
	$(RUN) unit
test-asan: setup ## the same under AddressSanitizer and UBSan
	$(RUN) asan
test-tsan: setup ## the same under ThreadSanitizer
	$(RUN) tsan
test-e2e: setup ## real processes, Python and C
	$(RUN) e2e
test-proof: setup ## a slice of every suite of the proof; ONLY= chooses
	$(Q)MAKE='$(MAKE)' "$$(cat build/setup/python)" tests/proof/prove.py --scale quick \
	    --only '$(ONLY)'

.PHONY: lint
lint: ## gcc, clang, clang-tidy, cppcheck, ruff, mypy and the house rules
	$(Q)$(MAKE) setup || { echo '0 passed, 1 failed'; exit 1; }
	$(RUN) lint

.PHONY: bench-quick
bench-quick: bench-programs $(VENV)/.carom ## the main figures; build/bench/quick.json
	$(Q)$(VENV)/bin/python bench/quick.py

# ROUNDS= and PARTS= choose less: make bench-pool ROUNDS=1 PARTS=deaths,launch
.PHONY: bench-pool
bench-pool: bench-programs $(VENV)/.carom $(VENV)/.demo ## the pool; build/bench/pool.json
	$(Q)$(VENV)/bin/python bench/pool.py $(if $(ROUNDS),--rounds='$(ROUNDS)') \
	    $(if $(PARTS),--parts='$(PARTS)')

.PHONY: instructions
instructions: setup bench-programs ## counts a call's instructions; ACCEPT=1 makes them the baseline
	$(Q)"$$(cat build/setup/python)" bench/instructions.py $(if $(ACCEPT),--accept)

# BENCH= and PEERS= choose a part: make bench BENCH=latency,depth PEERS=unix,grpc
BENCH ?=
PEERS ?=

.PHONY: bench
bench: bench-programs bench-driver $(BENCH_VENV)/.carom ## everything, 25 minutes; BENCH= PEERS=
	$(Q)$(BENCH_VENV)/bin/python bench/full.py --bench='$(BENCH)' --peers='$(PEERS)'

.PHONY: bench-list
bench-list: build/setup/base.stamp ## what BENCH= and PEERS= can name
	$(Q)"$$(cat build/setup/python)" bench/full.py --list

# make bench-compare A=old.json B=new.json, or make bench-compare old.json new.json
ifneq ($(filter bench-compare,$(MAKECMDGOALS)),)
COMPARED := $(filter %.json,$(MAKECMDGOALS))
A ?= $(word 1,$(COMPARED))
B ?= $(word 2,$(COMPARED))
.PHONY: $(sort $(COMPARED))
$(sort $(COMPARED)):
	@:
endif

.PHONY: bench-compare
bench-compare: $(BENCH_VENV)/.base ## what got slower from A.json to B.json
	$(Q)$(BENCH_VENV)/bin/python bench/compare.py '$(A)' '$(B)'

# What tests/run.py asks for.
.PHONY: bench-programs e2e-programs lint-tools
$(foreach variant,$(VARIANTS),$(eval .PHONY: unit-$(variant)))
bench-programs: $(BENCH_PROGRAMS)
e2e-programs: all examples $(E2E_PROGRAMS) $(VENV)/.carom $(VENV)/.demo $(VENV)/.test \
    build/bench/peers/floor/client build/bench/peers/carom/client build/bench/peers/carom/server
lint-tools: build/libcarom.so $(VENV)/.carom $(VENV)/.demo $(VENV)/.test $(VENV)/.lint

## ---- set-up

.PHONY: setup
setup: build/setup/base.stamp build/setup/check.stamp ## Debian packages (demo needs fewer)
	@:

# Asking for another interpreter than the last time starts over.
ifneq ($(file <build/setup/asked),$(PYTHON) $(CC))
build/setup/base.stamp: FORCE
endif

# Who wants both gets both in one go, or one message that names both.
build/setup/base.stamp: tools/setup
	$(Q)PYTHON='$(PYTHON)' CC='$(CC)' tools/setup base \
	    $(if $(filter setup test-%,$(MAKECMDGOALS)),check)
	$(Q)echo '$(PYTHON) $(CC)' >build/setup/asked
	$(Q)touch $@

build/setup/check.stamp: tools/setup | build/setup/base.stamp
	$(Q)PYTHON='$(PYTHON)' CC='$(CC)' tools/setup check
	$(Q)touch $@

# An environment knows its own path: after a move it is made again, and for another interpreter.
ifneq ($(file <$(VENV)/.created),$(CURDIR) $(PYTHON))
$(VENV)/.created: FORCE
endif

# One pip at a time, also when two makes run.
locked = flock build/setup/lock

$(VENV)/.created: | build/setup/base.stamp
	$(call say,VENV,$(VENV))
	$(Q)$(locked) sh -ec 'rm -rf $(VENV); "$$(cat build/setup/python)" -m venv $(VENV)'
	$(Q)echo '$(CURDIR) $(PYTHON)' >$@

$(VENV)/.build $(VENV)/.demo $(VENV)/.test $(VENV)/.lint: $(VENV)/.%: python/requirements/%.txt \
    python/requirements/pins.txt $(VENV)/.created
	$(call say,PIP,$<)
	$(Q)$(locked) $(PIP) install -q -r $<
	$(Q)touch $@

# Built from a copy, so that the build leaves nothing in the working tree.
$(VENV)/.carom: $(VENV)/.build $(PACKAGE_SOURCES)
	$(call say,PACKAGE,python)
	$(Q)$(locked) sh -ec 'rm -rf build/package; mkdir -p build/package; \
	    cp -R python lib include build/package; \
	    for file in README.md LICENSE; do if [ -e $$file ]; then cp $$file build/package; fi; done; \
	    CAROM_STRICT=1 CC="$(CC)" $(PIP) install -q --no-build-isolation --no-deps --force-reinstall \
	        build/package/python'
	$(Q)touch $@

# The peers of `make bench` have an environment of their own, to which bench/full.py adds what each
# of them needs.
ifneq ($(file <$(BENCH_VENV)/.created),$(CURDIR) $(PYTHON))
$(BENCH_VENV)/.created: FORCE
endif

$(BENCH_VENV)/.created: | build/setup/base.stamp
	$(call say,VENV,$(BENCH_VENV))
	$(Q)$(locked) sh -ec 'rm -rf $(BENCH_VENV); "$$(cat build/setup/python)" -m venv $(BENCH_VENV)'
	$(Q)echo '$(CURDIR) $(PYTHON)' >$@

$(BENCH_VENV)/.base: bench/requirements.txt python/requirements/build.txt \
    python/requirements/pins.txt $(BENCH_VENV)/.created
	$(call say,PIP,$<)
	$(Q)$(locked) $(call pip_of,$(BENCH_VENV)) install -q -r $< -r python/requirements/build.txt
	$(Q)touch $@

$(BENCH_VENV)/.carom: $(VENV)/.carom $(BENCH_VENV)/.base
	$(call say,PACKAGE,$(BENCH_VENV))
	$(Q)$(locked) sh -ec 'CAROM_STRICT=1 CC="$(CC)" $(call pip_of,$(BENCH_VENV)) install -q \
	    --no-build-isolation --no-deps --force-reinstall build/package/python'
	$(Q)touch $@

.PHONY: FORCE
FORCE:

# ---- the library

build/libcarom.a: $(LIB_SOURCES:%.c=build/plain/%.o)
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

build/libcarom.so.$(VERSION): $(LIB_SOURCES:%.c=build/plain/%.o) lib/carom.map
	$(call say,LD,$@)
	$(Q)$(CC) -shared -pthread -Wl,-z,now -Wl,-z,defs -Wl,-soname,$(SONAME) \
	    -Wl,--version-script=lib/carom.map \
	    $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^)

build/libcarom.so: build/libcarom.so.$(VERSION)
	$(Q)ln -sf libcarom.so.$(VERSION) build/$(SONAME)
	$(Q)ln -sf $(SONAME) $@

ifneq ($(file <build/prefix),$(PREFIX) $(LIBDIR) $(INCLUDEDIR))
build/carom.pc: FORCE
endif
build/carom.pc: lib/carom.pc.in include/carom.h
	$(Q)mkdir -p build
	$(Q)sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@INCLUDEDIR@|$(INCLUDEDIR)|' \
	    -e 's|@VERSION@|$(VERSION)|' $< >$@
	$(Q)echo '$(PREFIX) $(LIBDIR) $(INCLUDEDIR)' >build/prefix

# ---- objects and tests, once per variant

define variant_rules
build/$(1)/lib/%.o: lib/%.c Makefile | build/setup/base.stamp
	$$(call say,CC,$$@)
	$$(Q)mkdir -p $$(@D)
	$$(Q)$$(CC) $$(BASE_FLAGS) $$(LIB_FLAGS) $$(CFLAGS) $$(FLAGS_$(1)) -c -o $$@ $$<

build/$(1)/tests/unit/%.o: tests/unit/%.c Makefile | build/setup/check.stamp
	$$(call say,CC,$$@)
	$$(Q)mkdir -p $$(@D)
	$$(Q)$$(CC) $$(BASE_FLAGS) -Ilib $$(CFLAGS) $$(FLAGS_$(1)) -c -o $$@ $$<

build/$(1)/tests/unit/test_%: build/$(1)/tests/unit/test_%.o \
    $$(TEST_SUPPORT:%.c=build/$(1)/%.o) $$(LIB_SOURCES:%.c=build/$(1)/%.o)
	$$(call say,LD,$$@)
	$$(Q)$$(CC) -pthread $$(CFLAGS) $$(FLAGS_$(1)) $$(LDFLAGS) -o $$@ $$^ -lcmocka

unit-$(1): $$(TEST_SOURCES:%.c=build/$(1)/%)
endef
$(foreach variant,$(VARIANTS),$(eval $(call variant_rules,$(variant))))

.SECONDARY: $(foreach variant,$(VARIANTS),$(TEST_SOURCES:%.c=build/$(variant)/%.o))

# ---- programs of one file each

$(BENCH_PROGRAMS) $(EXAMPLE_PROGRAMS) $(E2E_PROGRAMS): build/%: %.c build/libcarom.a Makefile
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(BASE_FLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $< build/libcarom.a -lm

# ---- the proof
#
# Programs of tests/proof, each linked with the library built in one of four ways. With PLANTED=NAME
# the library is the copy that tests/proof/planted made, and everything goes to build/planted/NAME.
#
#   plain         as it ships
#   asan          AddressSanitizer and UBSan
#   fuzz          the same with clang, and libFuzzer's coverage
#   instrumented  every access to memory is a call of tests/proof/instrument

PLANTED ?=
PROOF := build/$(if $(PLANTED),planted/$(PLANTED),proof)
PROOF_SOURCE := $(if $(PLANTED),$(PROOF)/src/)
PROOF_LIB := $(PROOF_SOURCE)lib
PROOF_FLAGS := -std=gnu11 -D_GNU_SOURCE -pthread $(WARNINGS) -I$(PROOF_SOURCE)include \
    -I$(PROOF_LIB) -Itests/proof -MMD -MP

PROOF_CC_plain := $(CC)
PROOF_CC_asan := $(CC)
PROOF_CC_fuzz := clang
PROOF_CC_instrumented := $(CC)
PROOF_FLAGS_plain :=
PROOF_FLAGS_asan := $(FLAGS_asan)
PROOF_FLAGS_fuzz := -O1 -fsanitize=address,undefined -fno-sanitize-recover=all \
    -fsanitize-coverage=inline-8bit-counters,pc-table,trace-loads
PROOF_FLAGS_instrumented := -O1 -fsanitize=thread -Wno-tsan \
    --param=tsan-instrument-func-entry-exit=0 -ftrivial-auto-var-init=zero

define proof_library
$(PROOF)/$(1)/lib/%.o: $(PROOF_LIB)/%.c Makefile | build/setup/check.stamp
	$$(call say,CC,$$@)
	$$(Q)mkdir -p $$(@D)
	$$(Q)$$(PROOF_CC_$(1)) $$(PROOF_FLAGS) -DCAROM_BUILD $$(CFLAGS) $$(PROOF_FLAGS_$(1)) -c -o $$@ $$<

$(PROOF)/$(1)/libcarom.a: $(LIB_SOURCES:lib/%.c=$(PROOF)/$(1)/lib/%.o)
	$$(call say,AR,$$@)
	$$(Q)rm -f $$@ && $$(AR) rcs $$@ $$^
endef
$(foreach kind,plain asan fuzz instrumented,$(eval $(call proof_library,$(kind))))

# build/proof/storm/client is tests/proof/storm/client.c, linked with the library as it ships. What
# is linked otherwise has a rule of its own below.
$(PROOF)/%: tests/proof/%.c $(PROOF)/plain/libcarom.a tests/proof/proof.h Makefile
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(PROOF_FLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $< $(PROOF)/plain/libcarom.a -lm

# Suites that stand on the model: the library instrumented, and libc's calls led into the model.
MODEL_WRAPS := close open fcntl fstat eventfd write epoll_create1 epoll_ctl epoll_wait waitid \
    getpid geteuid socket bind listen connect accept4 getsockopt sendmsg recvmsg poll memfd_create \
    fchmod ftruncate mmap munmap mremap madvise pwrite calloc malloc aligned_alloc strdup free \
    syscall clock_gettime nanosleep sched_yield getrandom pthread_create pthread_mutex_init \
    pthread_mutex_destroy pthread_mutex_lock pthread_mutex_unlock memcpy memset strncmp
MODEL_SOURCES := tests/proof/instrument/tsan.c $(sort $(wildcard tests/proof/model/*.c))
MODEL_PROGRAMS := interleave/interleave crash/crash mutation/mutation double_fetch/double_fetch \
    memory_order/memory_order
MODEL_LIB := $(PROOF)/model/libmodel.a

$(PROOF)/model/%.o: tests/proof/%.c Makefile | build/setup/check.stamp
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(PROOF_FLAGS) -O2 -g -fno-stack-protector -U_FORTIFY_SOURCE \
	    -ftrivial-auto-var-init=zero -c -o $@ $<

$(MODEL_LIB): $(MODEL_SOURCES:tests/proof/%.c=$(PROOF)/model/%.o)
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

# The library's objects become one, in which the calls of libc have other names: the harness itself
# goes on using the real ones.
$(PROOF)/instrumented/wrapped.o: $(PROOF)/instrumented/libcarom.a
	$(call say,LD,$@)
	$(Q)ld -r --whole-archive $< -o $@
	$(Q)objcopy $(foreach name,$(MODEL_WRAPS),--redefine-sym $(name)=__wrap_$(name)) $@

$(addprefix $(PROOF)/,$(MODEL_PROGRAMS)): $(PROOF)/%: $(PROOF)/model/%.o $(MODEL_LIB) \
    $(PROOF)/instrumented/wrapped.o
	$(call say,LD,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -no-pie -pthread -o $@ -Wl,--start-group $^ -Wl,--end-group

$(PROOF)/memory_order/memory_order: \
    $(patsubst %,$(PROOF)/model/memory_order/%.o,sites litmus allowed)

# The wake-up suite: the instrumented library, the suite's delays behind it, its own system calls.
WAKEUP_SOURCES := $(wildcard tests/proof/wakeup/*.c) tests/proof/instrument/tsan.c
$(PROOF)/wakeup/wakeup: $(WAKEUP_SOURCES) tests/proof/wakeup/wakeup.h tests/proof/proof.h \
    tests/proof/instrument/access.h $(PROOF)/instrumented/libcarom.a Makefile
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(filter-out -MMD -MP,$(PROOF_FLAGS)) $(CFLAGS) $(LDFLAGS) \
	    -Wl,--wrap=syscall -o $@ $(WAKEUP_SOURCES) $(PROOF)/instrumented/libcarom.a

# The soak's programs share what their messages look like.
$(PROOF)/soak/%: tests/proof/soak/%.c tests/proof/soak/message.c tests/proof/soak/message.h \
    $(PROOF)/plain/libcarom.a tests/proof/proof.h Makefile
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(filter-out -MMD -MP,$(PROOF_FLAGS)) $(CFLAGS) $(LDFLAGS) -o $@ $< \
	    tests/proof/soak/message.c $(PROOF)/plain/libcarom.a

# Static, so that the driver, which is forked into its subjects, finds their code at the same
# place; syscall wrapped: see board.c.
INSTRUCTION := $(patsubst tests/proof/%.c,$(PROOF)/%.o,$(wildcard tests/proof/instruction/*.c))
$(INSTRUCTION): $(PROOF)/%.o: tests/proof/%.c tests/proof/proof.h Makefile | build/setup/check.stamp
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(PROOF_FLAGS) $(CFLAGS) -fno-pie -c -o $@ $<
$(PROOF)/instruction/instruction: $(INSTRUCTION) $(PROOF)/plain/libcarom.a
	$(call say,LD,$@)
	$(Q)$(CC) -static -no-pie -pthread -Wl,--wrap=syscall $(CFLAGS) $(LDFLAGS) -o $@ $^

# The fuzz targets: the library's loads call the harness (trace-loads), and its system calls are
# given other names, by which kernel.c has them.
FUZZ_LINKED := kernel kernel_memory fuzzing hosting messages
FUZZ_TARGETS := $(patsubst tests/proof/%.c,$(PROOF)/%,$(wildcard tests/proof/hostile/fuzz_*.c))
.SECONDARY: $(FUZZ_TARGETS:%=%.fuzz.o) $(FUZZ_LINKED:%=$(PROOF)/hostile/%.fuzz.o)
FUZZ_FLAGS := -O1 -fsanitize=address,undefined -fno-sanitize-recover=all

$(PROOF)/hostile/library.a: $(PROOF)/fuzz/libcarom.a tests/proof/hostile/kernel.syms
	$(call say,OBJCOPY,$@)
	$(Q)mkdir -p $(@D)
	$(Q)objcopy --redefine-syms=tests/proof/hostile/kernel.syms $< $@

$(PROOF)/hostile/%.fuzz.o: tests/proof/hostile/%.c Makefile | build/setup/check.stamp
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)clang $(PROOF_FLAGS) $(CFLAGS) $(FUZZ_FLAGS) -c -o $@ $<

$(FUZZ_TARGETS): %: %.fuzz.o $(PROOF)/hostile/library.a \
    $(FUZZ_LINKED:%=$(PROOF)/hostile/%.fuzz.o)
	$(call say,LD,$@)
	$(Q)clang -pthread $(CFLAGS) $(FUZZ_FLAGS) -fsanitize=fuzzer $(LDFLAGS) -o $@ \
	    $(filter %.o,$^) $(PROOF)/hostile/library.a

SCRIBBLER := tests/proof/hostile/scribbler.c tests/proof/hostile/scribble.c

$(PROOF)/hostile/scribbler: $(SCRIBBLER) $(PROOF)/plain/libcarom.a tests/proof/hostile/scribble.h \
    tests/proof/proof.h Makefile
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(PROOF_FLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.c %.a,$^)

$(PROOF)/hostile/scribbler_asan: $(SCRIBBLER) $(PROOF)/asan/libcarom.a \
    tests/proof/hostile/scribble.h tests/proof/proof.h Makefile
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(PROOF_FLAGS) $(CFLAGS) $(FLAGS_asan) $(LDFLAGS) -o $@ $(filter %.c %.a,$^)

# The library's calls of libc go through doors.c; at fixed addresses, so that they can be named.
FAILING_SOURCES := $(wildcard tests/proof/failing/*.c)
$(PROOF)/failing/faults: $(FAILING_SOURCES) $(wildcard tests/proof/failing/*.h) \
    $(PROOF)/asan/libcarom.a \
    tests/proof/failing/wrap.txt tests/proof/proof.h Makefile
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(filter-out -MMD -MP,$(PROOF_FLAGS)) $(CFLAGS) $(FLAGS_asan) -no-pie $(LDFLAGS) -o $@ \
	    $(FAILING_SOURCES) -Wl,@tests/proof/failing/wrap.txt $(PROOF)/asan/libcarom.a

LIMITS_SOURCES := $(wildcard tests/proof/failing/limits/*.c)
$(PROOF)/failing/limits/limits: $(LIMITS_SOURCES) $(wildcard tests/proof/failing/limits/*.h) \
    $(PROOF)/plain/libcarom.a tests/proof/proof.h Makefile
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(filter-out -MMD -MP,$(PROOF_FLAGS)) $(CFLAGS) $(LDFLAGS) -o $@ $(LIMITS_SOURCES) \
	    $(PROOF)/plain/libcarom.a

# The Python package with the planted bug.
$(PROOF)/site/.carom: $(VENV)/.carom $(shell find $(PROOF_SOURCE)python $(PROOF_LIB) -type f)
	$(call say,PACKAGE,$(PROOF)/site)
	$(Q)$(locked) sh -ec 'rm -rf $(PROOF)/site $(PROOF)/package; \
	    cp -R $(PROOF_SOURCE) $(PROOF)/package; \
	    CC="$(CC)" $(PIP) install -q --no-build-isolation --no-deps --target $(PROOF)/site \
	        $(PROOF)/package/python'
	$(Q)touch $@

-include $(wildcard $(PROOF)/*/lib/*.d $(PROOF)/*/*.d $(PROOF)/*/*/*.d)

# ---- the driver of `make bench`, and its peers

# Which sources and libraries a peer needs is in its peer.py, so the runner says it:
#   make build/bench/peers/unix/client PEER_SOURCES="transport.c" PEER_LIBS="-lfoo"
#   make build/bench/peers/unix/server PEER_SERVER_SOURCES="server.c"
# Sources are C, or C++ by the suffix .cc. A peer that is built by something else (Rust) links
# libdriver.a, which has main and calls transport_*; servers in C link it for work.c.

PEER_SOURCES ?= transport.c
PEER_SERVER_SOURCES ?= server.c
PEER_LIBS ?=

DRIVER_LIB := build/bench/driver/libdriver.a
DRIVER_FLAGS := -Ibench -Ibench/driver
CXX_FLAGS := -std=gnu++17 -D_GNU_SOURCE -pthread -Wall -Wextra -Iinclude -MMD -MP

.PHONY: bench-driver
bench-driver: $(DRIVER_LIB)

$(DRIVER_LIB): $(patsubst %.c,build/%.o,$(sort $(wildcard bench/driver/*.c)))
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

build/bench/driver/%.o: bench/driver/%.c Makefile | build/setup/base.stamp
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(BASE_FLAGS) $(DRIVER_FLAGS) $(CFLAGS) -c -o $@ $<

build/bench/peers/%.c.o: bench/peers/%.c Makefile | build/setup/base.stamp
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(BASE_FLAGS) $(DRIVER_FLAGS) $(PEER_FLAGS) $(CFLAGS) -c -o $@ $<

build/bench/peers/%.cc.o: bench/peers/%.cc Makefile | build/setup/base.stamp
	$(call say,CXX,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CXX) $(CXX_FLAGS) $(DRIVER_FLAGS) $(PEER_FLAGS) $(CFLAGS) -c -o $@ $<

peer_objects = $(patsubst %,build/bench/peers/$(1)/%.o,$(2))

# Objects first, then what they need; C++ links C as well, but brings its library along.
link_peer = $(if $(filter %.cc.o,$^),$(CXX),$(CC)) -pthread $(CFLAGS) $(LDFLAGS) -o $@ \
    $(filter %.o,$^) $(DRIVER_LIB) build/libcarom.a $(PEER_LIBS) -lm

.PRECIOUS: build/bench/peers/%.c.o build/bench/peers/%.cc.o
.SECONDEXPANSION:
build/bench/peers/%/client: $$(call peer_objects,$$*,$$(PEER_SOURCES)) $(DRIVER_LIB) \
    build/libcarom.a
	$(call say,LD,$@)
	$(Q)$(link_peer)

build/bench/peers/%/server: $$(call peer_objects,$$*,$$(PEER_SERVER_SOURCES)) $(DRIVER_LIB) \
    build/libcarom.a
	$(call say,LD,$@)
	$(Q)$(link_peer)

-include $(wildcard build/bench/driver/*.d build/bench/peers/*/*.d)
-include $(wildcard build/*/lib/*.d build/*/tests/unit/*.d build/bench/*.d build/examples/*/*.d \
    build/tests/e2e/*.d)
