# How every target of the project is declared: one place for flags, one for tests, one for entry tables.
include(GNUInstallDirs)

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)

find_package(Threads REQUIRED)

# Flags that all our code shares. No -march=native (the program moves between machines), no -ffast-math
# (parity would lie), and no contraction, so that scalar references mean one thing on every machine.
add_library(halftone_flags INTERFACE)
target_include_directories(halftone_flags INTERFACE ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR}/generated)
target_compile_features(halftone_flags INTERFACE cxx_std_20)
target_compile_options(halftone_flags INTERFACE
  -Wall -Wextra -Wshadow -Wconversion -Wsign-conversion -Wno-missing-field-initializers -ffp-contract=off -fno-math-errno
  $<$<BOOL:${HALFTONE_WERROR}>:-Werror>)
target_compile_definitions(halftone_flags INTERFACE HALFTONE_VERSION="${PROJECT_VERSION}" _GLIBCXX_ASSERTIONS)
# Files from anywhere are read: what the compiler and the linker can make harder to exploit, they do.
if(NOT HALFTONE_SANITIZE)
  target_compile_options(halftone_flags INTERFACE
    $<$<CONFIG:Release>:-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3 -fstack-protector-strong -fstack-clash-protection>
    $<$<AND:$<CONFIG:Release>,$<STREQUAL:${CMAKE_SYSTEM_PROCESSOR},x86_64>>:-fcf-protection>)
  target_link_options(halftone_flags INTERFACE $<$<CONFIG:Release>:-Wl,-z,relro,-z,now>)
endif()
if(HALFTONE_SANITIZE)
  # A null pointer faults by itself; the check of every virtual call costs a tenth of the build and needs a wrong cast to find anything.
  target_compile_options(halftone_flags INTERFACE -fsanitize=${HALFTONE_SANITIZE} -fno-sanitize=null,vptr -fno-omit-frame-pointer
                         -fno-sanitize-recover=all)
  target_link_options(halftone_flags INTERFACE -fsanitize=${HALFTONE_SANITIZE})
endif()

# halftone_library(<folder name> [EXCLUDE regexes over paths from the root...] [SOURCES ...] [PUBLIC libs...] [PRIVATE libs...])
# Declares halftone_<name> (alias halftone::<name>) out of the folder's *.cc, without *_test.cc and *_bench.cc,
# and one test program <name>_test out of its *_test.cc.
function(halftone_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;EXCLUDE;PUBLIC;PRIVATE;TEST_LIBS" ${ARGN})
  if(NOT arg_SOURCES)
    file(GLOB_RECURSE arg_SOURCES RELATIVE ${PROJECT_SOURCE_DIR} CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cc)
    list(FILTER arg_SOURCES EXCLUDE REGEX "_(test|bench|main)\\.cc$")
    foreach(pattern IN LISTS arg_EXCLUDE)
      list(FILTER arg_SOURCES EXCLUDE REGEX ${pattern})
    endforeach()
    list(TRANSFORM arg_SOURCES PREPEND ${PROJECT_SOURCE_DIR}/)
  endif()
  add_library(halftone_${name} STATIC ${arg_SOURCES})
  add_library(halftone::${name} ALIAS halftone_${name})
  target_link_libraries(halftone_${name} PUBLIC halftone_flags ${arg_PUBLIC} PRIVATE ${arg_PRIVATE})
  file(GLOB_RECURSE tests RELATIVE ${PROJECT_SOURCE_DIR} CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*_test.cc)
  foreach(pattern IN LISTS arg_EXCLUDE)
    list(FILTER tests EXCLUDE REGEX ${pattern})
  endforeach()
  list(TRANSFORM tests PREPEND ${PROJECT_SOURCE_DIR}/)
  if(tests AND BUILD_TESTING)
    halftone_test(${name}_test SOURCES ${tests} LIBS halftone::${name} ${arg_TEST_LIBS})
  endif()
endfunction()

# halftone_test(<name> SOURCES ... [LIBS ...] [LABELS unit] [TIMEOUT s] [LONG filter])
# LONG: a gtest filter of the tests that take minutes under sanitizers, where what they run is tested in smaller pieces as well. They
# have the one label "long", which the sanitizers' presets leave out.
function(halftone_test name)
  cmake_parse_arguments(arg "" "TIMEOUT;LONG" "SOURCES;LIBS;LABELS" ${ARGN})
  if(NOT CMAKE_CROSSCOMPILING)
    find_package(GTest REQUIRED)
  elseif(NOT TARGET gtest)  # the installed libraries are for the machine that builds: Debian's sources, then
    set(INSTALL_GTEST OFF CACHE BOOL "")
    add_subdirectory(/usr/src/googletest ${PROJECT_BINARY_DIR}/googletest EXCLUDE_FROM_ALL)
  endif()
  if(NOT arg_LABELS)
    set(arg_LABELS unit)
  endif()
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 600)
  endif()
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE ${arg_LIBS} halftone_flags GTest::gmock GTest::gtest GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE HALFTONE_SOURCE_DIR="${PROJECT_SOURCE_DIR}"
                             HALFTONE_BIN_DIR="${CMAKE_RUNTIME_OUTPUT_DIRECTORY}")
  # Tests are compiled for the time it takes to compile them, as half of a build is theirs.
  target_compile_options(${name} PRIVATE $<$<CONFIG:Release>:-O1>)
  if(HALFTONE_SANITIZE)
    target_compile_options(${name} PRIVATE -fno-sanitize=alignment)
  endif()
  include(GoogleTest)
  set(short "")
  if(arg_LONG)
    gtest_discover_tests(${name} DISCOVERY_TIMEOUT 120 TEST_FILTER "${arg_LONG}" TEST_LIST ${name}_long
      PROPERTIES LABELS long TIMEOUT ${arg_TIMEOUT} SKIP_REGULAR_EXPRESSION "\\[  SKIPPED \\]")
    set(short TEST_FILTER "-${arg_LONG}")
  endif()
  gtest_discover_tests(${name} DISCOVERY_TIMEOUT 120 ${short}
    PROPERTIES LABELS "${arg_LABELS}" TIMEOUT ${arg_TIMEOUT} SKIP_REGULAR_EXPRESSION "\\[  SKIPPED \\]")
endfunction()

# collect_entries(<target> SLOT <namespace> TYPE <C++ type> HEADER <header> DIR <folder> [SUFFIX _run])
# Lists a folder and generates a sorted table of its entry functions: the file name is the function name is the
# name users type. Files ending in _test, _bench or (without SUFFIX) _run are not entries. A file without its
# function fails at link.
#   generated: halftone/<SLOT>/entries[SUFFIX].cc defining  std::span<const Named<TYPE>> halftone::<SLOT>::entries[SUFFIX]()
function(collect_entries target)
  cmake_parse_arguments(arg "" "SLOT;TYPE;HEADER;DIR;SUFFIX" "SKIP" ${ARGN})
  file(GLOB files CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${arg_DIR}/*.cc)
  set(names "")
  foreach(file IN LISTS files)
    get_filename_component(name ${file} NAME_WE)
    if(name MATCHES "_(test|bench)$" OR name IN_LIST arg_SKIP)
      continue()
    endif()
    if(arg_SUFFIX)
      if(NOT name MATCHES "${arg_SUFFIX}$")
        continue()
      endif()
    elseif(name MATCHES "_run$")
      continue()
    endif()
    list(APPEND names ${name})
  endforeach()
  list(SORT names)
  set(declarations "")
  set(rows "")
  foreach(name IN LISTS names)
    if(arg_SUFFIX)
      string(REGEX REPLACE "${arg_SUFFIX}$" "" user_name ${name})
    else()
      string(REGEX REPLACE "_$" "" user_name ${name})  # int_.cc is "int": C++ keeps that word for itself
    endif()
    string(APPEND declarations "${arg_TYPE} ${name}();\n")
    string(APPEND rows "      {\"${user_name}\", ${name}()},\n")
  endforeach()
  list(LENGTH names count)
  string(REPLACE "::" "_" slot_file ${arg_SLOT})
  set(out ${PROJECT_BINARY_DIR}/generated/entries_${slot_file}${arg_SUFFIX}.cc)
  file(CONFIGURE OUTPUT ${out} @ONLY CONTENT
"// Generated by collect_entries() from the files of ${arg_DIR}. Do not edit.
#include \"${arg_HEADER}\"
#include \"halftone/base/entries.h\"
namespace halftone::${arg_SLOT} {
${declarations}
std::span<const Named<${arg_TYPE}>> entries${arg_SUFFIX}() {
  static const std::vector<Named<${arg_TYPE}>> table = {
${rows}  };
  return table;
}
}  // namespace halftone::${arg_SLOT}
")
  target_sources(${target} PRIVATE ${out})
endfunction()
