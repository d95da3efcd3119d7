
# Copyright (C) the ngx_ws_bus_module authors

#   make          build/ngx_ws_bus_module.so for the installed nginx
#   make run      a demonstration on http://127.0.0.1:8080/ (PORT=, LISTEN=)
#   make test     installs what the tests need, builds, runs every test
#   make debug    the same tests with ASan and UBSan in the module
#   make fuzz     each fuzzer for FUZZ_TIME seconds
#   make bench    benchmarks
#   make install  into nginx's modules path (DESTDIR=)
#   make clean
#
# NGINX       the nginx that loads the module
# NGINX_SRC   its source or header tree
# NGINX_ARGS  arguments for its configure, by default those of NGINX
# TESTS       what "make test" and "make debug" run, e.g. TESTS=t/style.t
# WS_BUS_TEST_REDIS   the server of Redis or Valkey that the tests run
# V=1         shows the commands


NGINX =		nginx
NGINX_SRC ?=	/usr/share/nginx/src
NGINX_ARGS =

CC ?=		cc
CLANG ?=	clang

PORT ?=		8080
FUZZ_TIME ?=	60
JOBS ?=		2
PROVE =		prove -j$(JOBS)

# what takes seconds is the first to fail

FIRST =		t/style.t t/layers.t t/symbols.t t/docs.t t/config.t
TESTS =		$(FIRST) $(UNIT) $(filter-out $(FIRST),$(wildcard t/*.t))

MODULE =	ngx_ws_bus_module
BUILD =		build
TREE =		$(BUILD)/nginx

SRCS =		$(wildcard $(MODULE)/*.c $(MODULE)/*/*.c)
LIBS =		-lssl -lcrypto -ljansson -lz $(HIREDIS)
HIREDIS =	-Wl,--exclude-libs,libhiredis.a -l:libhiredis.a
MAP =		$(MODULE)/$(MODULE).map

INCS =		-I $(MODULE)/proto -I $(MODULE)/bus -I $(MODULE)/redis \
		-I $(MODULE)/http @$(TREE)/incs
WARN =		-Wall -Wextra -Wno-unused-parameter -Wmissing-prototypes \
		-Wdeclaration-after-statement -Werror
COMPILE =	$(CC) -c @$(TREE)/cflags $(WARN) -fPIC -fvisibility=hidden
LINK =		$(CC) -shared

SANITIZE =	-O1 -g -U_FORTIFY_SOURCE -fno-omit-frame-pointer \
		-fsanitize=address,undefined
FATAL =		-fno-sanitize-recover=undefined

OBJS =		$(SRCS:$(MODULE)/%.c=$(BUILD)/obj/%.o)
DEBUG_OBJS =	$(SRCS:$(MODULE)/%.c=$(BUILD)/debug/obj/%.o)
UNIT =		$(patsubst t/unit/%.c,$(BUILD)/unit/%.t,$(wildcard t/unit/*.c))
FUZZ =		$(patsubst t/fuzz/%.c,$(BUILD)/fuzz/%,$(wildcard t/fuzz/*.c))
REPLAY =	$(FUZZ:=.replay)

# nginx takes a variable NGINX in its environment for inherited sockets

unexport NGINX

# an ordinary user's path lacks the directory of Debian's nginx

export PATH :=	$(PATH):/usr/sbin:/usr/local/sbin

DEPS =		NGINX_BIN="$(NGINX)" NGINX_SRC="$(NGINX_SRC)" \
		contrib/scripts/deps

SUBMAKE =	$(MAKE) --no-print-directory \
		$(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(JOBS))

ifeq ($(V),)
Q =		@
say =		@echo "$(1) $(2)"
endif


.PHONY:		all run test debug debug-build unit fuzz fuzz-build \
		fuzz-replay bench install clean FORCE link-test \
		debug-link-test

all:		$(BUILD)/$(MODULE).so
	@:

FORCE:


# the tree is configured again only when nginx, its source or "config" change

$(TREE)/stamp:	FORCE
	@mkdir -p $(BUILD)
	@contrib/scripts/nginx-tree "$(NGINX)" "$(NGINX_SRC)" $(TREE) \
		$(NGINX_ARGS)


# the module

$(BUILD)/$(MODULE).so: $(OBJS) $(BUILD)/obj/modules.o $(MAP)
	$(call say,LD,$@)
	$(Q)$(LINK) -o $@.new $(OBJS) $(BUILD)/obj/modules.o \
		@$(TREE)/ldflags -Wl,--version-script=$(MAP) $(LIBS)
	$(Q)mv $@.new $@

$(BUILD)/obj/%.o: $(MODULE)/%.c Makefile $(TREE)/stamp
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(COMPILE) $(INCS) -MMD -MP -o $@ $<

$(BUILD)/obj/modules.o: Makefile $(TREE)/stamp
	@mkdir -p $(@D)
	$(Q)$(CC) -c @$(TREE)/cflags -fPIC $(INCS) -o $@ \
		$(TREE)/objs/$(MODULE)_modules.c


# the module with sanitizers; nginx itself has none, they are preloaded

debug-build:	$(BUILD)/debug/$(MODULE).so
	@:

$(BUILD)/debug/$(MODULE).so: $(DEBUG_OBJS) $(BUILD)/obj/modules.o $(MAP)
	$(call say,LD,$@)
	$(Q)$(LINK) $(SANITIZE) -o $@.new $(DEBUG_OBJS) \
		$(BUILD)/obj/modules.o -Wl,--version-script=$(MAP) $(LIBS)
	$(Q)mv $@.new $@

$(BUILD)/debug/obj/%.o: $(MODULE)/%.c Makefile $(TREE)/stamp
	@mkdir -p $(@D)
	$(call say,CC,$< (debug))
	$(Q)$(COMPILE) $(SANITIZE) $(INCS) -MMD -MP -o $@ $<


# modules for tests only, which give HTTP to the links and servers of redis/

LINK_TEST =	$(filter-out %/ngx_ws_bus_module.o %/http/%,$(1))

TEST_MODS =	$(notdir $(wildcard t/mod/*.c))

link-test:	$(TEST_MODS:%.c=$(BUILD)/test/%.so)
	@:

debug-link-test: $(TEST_MODS:%.c=$(BUILD)/debug/test/%.so)
	@:

$(BUILD)/test/%.so: t/mod/%.c $(OBJS)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(COMPILE) $(INCS) -MMD -MP -MF $@.d -MT $@ -o $@.o $<
	$(Q)$(LINK) -o $@.new $@.o $(call LINK_TEST,$(OBJS)) $(LIBS)
	$(Q)mv $@.new $@

$(BUILD)/debug/test/%.so: t/mod/%.c $(DEBUG_OBJS)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(COMPILE) $(SANITIZE) $(INCS) -MMD -MP -MF $@.d -MT $@ -o $@.o $<
	$(Q)$(LINK) $(SANITIZE) -o $@.new $@.o \
		$(call LINK_TEST,$(DEBUG_OBJS)) $(LIBS)
	$(Q)mv $@.new $@


# A unit test includes the file under test.  What it needs besides goes into
# UNIT_<name>: files, flags, libraries.

unit:		$(UNIT)
	@:

$(BUILD)/unit/%.t: t/unit/%.c Makefile $(TREE)/stamp
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) -Wall -Werror $(SANITIZE) $(FATAL) -I t/unit $(INCS) \
		-MMD -MP -MF $@.d -MT $@ -o $@ $< $(UNIT_$*) $(LIBS) -lpthread


# fuzzers, and the same files built to replay their corpora

fuzz:
	$(DEPS) fuzz
	@$(SUBMAKE) fuzz-build
	@set -e; for name in $(notdir $(FUZZ)); do \
		echo "FUZZ $$name, $(FUZZ_TIME) s"; \
		mkdir -p $(BUILD)/fuzz/corpus/$$name $(BUILD)/fuzz/found; \
		$(BUILD)/fuzz/$$name -max_total_time=$(FUZZ_TIME) \
			-verbosity=0 -print_final_stats=1 \
			-artifact_prefix=$(BUILD)/fuzz/found/$$name- \
			$(BUILD)/fuzz/corpus/$$name t/fuzz/corpus/$$name; \
	done

fuzz-build:	$(FUZZ)
	@:

$(BUILD)/fuzz/%: t/fuzz/%.c Makefile $(TREE)/stamp
	@mkdir -p $(@D)
	$(call say,CC,$< (fuzzer))
	$(Q)$(CLANG) -Wall -Werror $(SANITIZE) -fsanitize=fuzzer $(FATAL) \
		-I t/fuzz $(INCS) -MMD -MP -MF $@.d -MT $@ -o $@ $< $(LIBS)

fuzz-replay:	$(REPLAY)
	@:

$(BUILD)/fuzz/%.replay: t/fuzz/%.c Makefile $(TREE)/stamp
	@mkdir -p $(@D)
	$(call say,CC,$< (replay))
	$(Q)$(CC) -Wall -Werror $(SANITIZE) $(FATAL) \
		-DNGX_WS_BUS_FUZZ_REPLAY \
		-I t/fuzz $(INCS) -MMD -MP -MF $@.d -MT $@ -o $@ $< $(LIBS)


# what installs by itself what it needs

test:
	$(DEPS) test
	@$(SUBMAKE) all unit fuzz-replay link-test
	WS_BUS_TEST_NGINX="$(NGINX)" $(PROVE) $(TESTS)

debug:
	$(DEPS) test
	@$(SUBMAKE) all debug-build unit fuzz-replay \
		debug-link-test
	WS_BUS_TEST_NGINX="$(NGINX)" \
	WS_BUS_TEST_MODULE="$(abspath $(BUILD)/debug/$(MODULE).so)" \
	WS_BUS_TEST_PRELOAD="$$($(CC) -print-file-name=libasan.so) \
	$$($(CC) -print-file-name=libubsan.so)" \
	$(PROVE) $(TESTS)

run:
	$(DEPS) build
	@$(SUBMAKE) all
	@NGINX_BIN="$(NGINX)" PORT="$(PORT)" contrib/demo/run

bench:
	$(DEPS) bench
	@$(SUBMAKE) all
	@NGINX_BIN="$(NGINX)" contrib/bench/run

install:	all
	@modules=$$(cat $(TREE)/modules) && set -x \
		&& install -d "$(DESTDIR)$$modules" \
		&& install -m 644 $(BUILD)/$(MODULE).so "$(DESTDIR)$$modules/"

clean:
	rm -rf $(BUILD)


-include $(OBJS:.o=.d) $(DEBUG_OBJS:.o=.d) $(UNIT:=.d) $(FUZZ:=.d) \
	$(REPLAY:=.d) $(BUILD)/test/link.so.d $(BUILD)/debug/test/link.so.d
