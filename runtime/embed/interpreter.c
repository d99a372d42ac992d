#define _GNU_SOURCE
#include "interpreter.h"

#include <stdio.h>
#include <string.h>

#if defined(_WIN32)
#include <windows.h>
static const char *const places[] = {"Scripts\\python.exe", "python.exe", "python\\python.exe",
                                     ".venv\\Scripts\\python.exe"};
#define SLASH '\\'

static bool own_path(char *to, size_t size) {
    HMODULE module = NULL;
    wchar_t wide[MAX_PATH * 8];
    DWORD flags = GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT;
    if (!GetModuleHandleExW(flags, (LPCWSTR)(const void *)&places, &module))
        return false;
    DWORD length = GetModuleFileNameW(module, wide, sizeof wide / sizeof *wide);
    return length > 0 && length < sizeof wide / sizeof *wide
           && WideCharToMultiByte(CP_UTF8, 0, wide, -1, to, (int)size, NULL, NULL) > 0;
}

static bool is_file(const char *path) {
    wchar_t wide[MAX_PATH * 8];
    if (MultiByteToWideChar(CP_UTF8, 0, path, -1, wide, sizeof wide / sizeof *wide) <= 0)
        return false;
    DWORD attributes = GetFileAttributesW(wide);
    return attributes != INVALID_FILE_ATTRIBUTES && !(attributes & FILE_ATTRIBUTE_DIRECTORY);
}
#else
#include <dlfcn.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>
static const char *const places[] = {"bin/python3", "python/bin/python3", ".venv/bin/python3"};
#define SLASH '/'

static bool own_path(char *to, size_t size) {
    Dl_info info;
    if (dladdr((const void *)&places, &info) == 0 || info.dli_fname == NULL)
        return false;
    char *whole = realpath(info.dli_fname, NULL);
    if (whole == NULL)
        return false;
    int length = snprintf(to, size, "%s", whole);
    free(whole);
    return length > 0 && (size_t)length < size;
}

static bool is_file(const char *path) { return access(path, X_OK) == 0; }
#endif

static bool cut_last_part(char *path) {
    char *slash = strrchr(path, SLASH);
    if (slash == NULL || slash == path)
        return false;
    *slash = '\0';
    return true;
}

bool a2d_find_interpreter(char *to, size_t size) {
    char folder[4096], candidate[4096 + 64];
    if (!own_path(folder, sizeof folder) || !cut_last_part(folder)) {
        snprintf(to, size, "%s", "(unknown)");
        return false;
    }
    snprintf(to, size, "%s", folder);
    do {
        for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
            snprintf(candidate, sizeof candidate, "%s%c%s", folder, SLASH, places[i]);
            if (is_file(candidate))
                return (size_t)snprintf(to, size, "%s", candidate) < size;
        }
    } while (cut_last_part(folder));
    return false;
}
