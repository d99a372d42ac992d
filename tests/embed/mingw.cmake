# Cross-compile for Windows with mingw-w64, and run the tests under Wine where there is one:
#     cmake -S . -B build-windows -DCMAKE_TOOLCHAIN_FILE=tests/embed/mingw.cmake
set(CMAKE_SYSTEM_NAME Windows)
set(CMAKE_C_COMPILER x86_64-w64-mingw32-gcc)
set(CMAKE_CXX_COMPILER x86_64-w64-mingw32-g++)
set(CMAKE_RC_COMPILER x86_64-w64-mingw32-windres)
set(CMAKE_FIND_ROOT_PATH /usr/x86_64-w64-mingw32)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_EXE_LINKER_FLAGS_INIT -static)
set(CMAKE_SHARED_LINKER_FLAGS_INIT -static)
find_program(A2D_WINE wine)
if(A2D_WINE)
  set(CMAKE_CROSSCOMPILING_EMULATOR ${A2D_WINE})
endif()
