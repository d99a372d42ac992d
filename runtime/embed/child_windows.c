#include "child.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#define PIPE_BYTES 65536
enum { KILLED_IN = 2000 };

static void say(char *why, size_t why_size, const char *what) {
    snprintf(why, why_size, "%s (Windows error %lu)", what, (unsigned long)GetLastError());
}

static wchar_t *widened(const char *text) {
    int length = MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, text, -1, NULL, 0);
    wchar_t *wide = length > 0 ? malloc((size_t)length * sizeof *wide) : NULL;
    if (wide != NULL)
        MultiByteToWideChar(CP_UTF8, 0, text, -1, wide, length);
    return wide;
}

static void close_handle(HANDLE *handle) {
    if (*handle != NULL && *handle != INVALID_HANDLE_VALUE)
        CloseHandle(*handle);
    *handle = NULL;
}

/* Anonymous pipes cannot be waited for with a deadline, so ours have names that nobody else can know or connect to: one
 * instance, local, and its other end is opened here at once. `reads`: whether we are the ones who read. */
static bool make_pipe(a2d_pipe *pipe, bool reads, HANDLE *theirs) {
    static volatile LONG count; /* of this process: makes names differ, and means nothing else */
    wchar_t name[96];
    swprintf(name, sizeof name / sizeof *name, L"\\\\.\\pipe\\a2d-%lu-%ld-%llu", GetCurrentProcessId(),
             InterlockedIncrement(&count), (unsigned long long)GetTickCount64());
    DWORD open = (reads ? PIPE_ACCESS_INBOUND : PIPE_ACCESS_OUTBOUND) | FILE_FLAG_OVERLAPPED | FILE_FLAG_FIRST_PIPE_INSTANCE;
    DWORD mode = PIPE_TYPE_BYTE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS;
    SECURITY_ATTRIBUTES inherited = {sizeof inherited, NULL, TRUE};
    pipe->event = CreateEventW(NULL, TRUE, FALSE, NULL);
    pipe->ours = CreateNamedPipeW(name, open, mode, 1, PIPE_BYTES, PIPE_BYTES, 0, NULL);
    if (pipe->event == NULL || pipe->ours == INVALID_HANDLE_VALUE)
        return false;
    *theirs = CreateFileW(name, reads ? GENERIC_WRITE : GENERIC_READ, 0, &inherited, OPEN_EXISTING, 0, NULL);
    return *theirs != INVALID_HANDLE_VALUE;
}

/* "NAME" or "NAME=value": whether an entry of the environment is that variable. Windows does not look at case. */
static bool same_name(const wchar_t *entry, const wchar_t *change) {
    size_t length = wcscspn(change, L"=");
    return _wcsnicmp(entry, change, length) == 0 && entry[length] == L'=';
}

static bool is_changed(const wchar_t *entry, wchar_t *const *changes, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (same_name(entry, changes[i]))
            return true;
    return false;
}

static void append(wchar_t *block, size_t *at, const wchar_t *entry) {
    size_t length = wcslen(entry) + 1;
    memcpy(block + *at, entry, length * sizeof *block);
    *at += length;
}

static wchar_t *joined_environment(const wchar_t *host, wchar_t *const *changes, size_t count) {
    size_t size = 2;
    for (const wchar_t *entry = host; *entry; entry += wcslen(entry) + 1)
        size += wcslen(entry) + 1;
    for (size_t i = 0; i < count; i++)
        size += wcslen(changes[i]) + 1;
    wchar_t *block = calloc(size, sizeof *block);
    size_t at = 0;
    for (const wchar_t *entry = host; block != NULL && *entry; entry += wcslen(entry) + 1)
        if (!is_changed(entry, changes, count))
            append(block, &at, entry);
    for (size_t i = 0; block != NULL && i < count; i++)
        if (wcschr(changes[i], L'=') != NULL)
            append(block, &at, changes[i]);
    return block;
}

/* The host's environment with changes, as one block to be freed. */
static wchar_t *changed_environment(const char *const *changes) {
    size_t count = 0;
    while (changes != NULL && changes[count] != NULL)
        count++;
    wchar_t **wide = calloc(count + 1, sizeof *wide);
    bool whole = wide != NULL;
    for (size_t i = 0; i < count && whole; i++)
        whole = (wide[i] = widened(changes[i])) != NULL;
    wchar_t *host = GetEnvironmentStringsW();
    wchar_t *block = whole && host != NULL ? joined_environment(host, wide, count) : NULL;
    if (host != NULL)
        FreeEnvironmentStringsW(host);
    for (size_t i = 0; wide != NULL && i < count; i++)
        free(wide[i]);
    free(wide);
    return block;
}

/* One argument as the C runtime takes command lines apart: quoted, backslashes doubled where a quote follows. */
static char *quote(char *to, const char *argument) {
    *to++ = '"';
    for (size_t slashes = 0; *argument; argument++) {
        slashes = *argument == '\\' ? slashes + 1 : 0;
        if (*argument == '"')
            *to++ = '\\';
        *to++ = *argument;
        if (slashes && (argument[1] == '"' || argument[1] == '\0'))
            for (; slashes; slashes--)
                *to++ = '\\';
    }
    *to++ = '"';
    return to;
}

static wchar_t *command_line(const char *const *arguments, const char *last) {
    size_t size = 2 * strlen(last) + 4;
    for (size_t i = 0; arguments[i] != NULL; i++)
        size += 2 * strlen(arguments[i]) + 4;
    char *line = malloc(size), *at = line;
    if (line == NULL)
        return NULL;
    for (size_t i = 0; arguments[i] != NULL; i++) {
        at = quote(at, arguments[i]);
        *at++ = ' ';
    }
    *quote(at, last) = '\0';
    wchar_t *wide = widened(line);
    free(line);
    return wide;
}

/* Start suspended, so that it is in the job before it can start anything: with the job's last handle, ours, all of it ends.
 * Only these handles are inherited, not whatever else the host has open. */
static bool spawn(a2d_child *child, wchar_t *line, wchar_t *environment, HANDLE handles[4]) {
    SIZE_T size = 0;
    PROCESS_INFORMATION made = {0};
    STARTUPINFOEXW start = {.StartupInfo = {.cb = sizeof start, .dwFlags = STARTF_USESTDHANDLES}};
    start.StartupInfo.hStdInput = handles[0];
    start.StartupInfo.hStdOutput = handles[1];
    start.StartupInfo.hStdError = handles[2];
    InitializeProcThreadAttributeList(NULL, 1, 0, &size);
    start.lpAttributeList = malloc(size);
    if (start.lpAttributeList == NULL || !InitializeProcThreadAttributeList(start.lpAttributeList, 1, 0, &size)) {
        free(start.lpAttributeList);
        return false;
    }
    DWORD flags = CREATE_SUSPENDED | CREATE_NO_WINDOW | CREATE_UNICODE_ENVIRONMENT | EXTENDED_STARTUPINFO_PRESENT;
    bool started = UpdateProcThreadAttribute(start.lpAttributeList, 0, PROC_THREAD_ATTRIBUTE_HANDLE_LIST, handles,
                                             4 * sizeof *handles, NULL, NULL)
                   && CreateProcessW(NULL, line, NULL, NULL, TRUE, flags, environment, NULL, &start.StartupInfo, &made);
    DWORD failed = GetLastError();
    DeleteProcThreadAttributeList(start.lpAttributeList);
    free(start.lpAttributeList);
    SetLastError(failed);
    if (!started)
        return false;
    child->process = made.hProcess;
    child->id = made.dwProcessId;
    AssignProcessToJobObject(child->job, made.hProcess);
    ResumeThread(made.hThread);
    CloseHandle(made.hThread);
    return true;
}

static bool make_job(a2d_child *child) {
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION limits = {0};
    limits.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE;
    child->job = CreateJobObjectW(NULL, NULL);
    child->hangup = CreateEventW(NULL, TRUE, FALSE, NULL);
    return child->job != NULL && child->hangup != NULL
           && SetInformationJobObject(child->job, JobObjectExtendedLimitInformation, &limits, sizeof limits);
}

bool a2d_child_start(a2d_child *child, const char *program, const char *const *arguments, const char *const *changes,
                     const a2d_arena *arena, char *why, size_t why_size) {
    (void)program; /* the first of the arguments */
    *child = (a2d_child){.status = STILL_ACTIVE};
    HANDLE handles[4] = {NULL, NULL, NULL, arena->shared};
    char pixels[32];
    snprintf(pixels, sizeof pixels, "%llu", (unsigned long long)(uintptr_t)arena->shared);
    wchar_t *line = command_line(arguments, pixels), *environment = changed_environment(changes);
    bool ready = line != NULL && environment != NULL && make_job(child) && make_pipe(&child->in, false, &handles[0])
                 && make_pipe(&child->out, true, &handles[1]) && make_pipe(&child->words, true, &handles[2]);
    if (!ready)
        say(why, why_size, "cannot make pipes, a job or an environment");
    bool started = ready && spawn(child, line, environment, handles);
    if (ready && !started)
        say(why, why_size, "cannot create the process");
    for (int i = 0; i < 3; i++)
        close_handle(&handles[i]);
    free(line);
    free(environment);
    if (!started)
        a2d_child_close(child);
    return started;
}

/* The bytes of an operation that was begun: waits for it, the hang-up or the deadline, and takes it back after those. */
static long outcome(a2d_child *child, a2d_pipe *pipe, OVERLAPPED *operation, BOOL begun, DWORD timeout_ms) {
    DWORD moved = 0;
    if (!begun && GetLastError() != ERROR_IO_PENDING)
        return A2D_CHILD_EOF;
    HANDLE awaited[2] = {pipe->event, child->hangup};
    DWORD woken = WaitForMultipleObjects(2, awaited, FALSE, timeout_ms);
    if (woken != WAIT_OBJECT_0)
        CancelIoEx(pipe->ours, operation);
    /* Also after taking back: it may have been done just before. */
    if (GetOverlappedResult(pipe->ours, operation, &moved, TRUE))
        return moved > 0 ? (long)moved : A2D_CHILD_QUIET;
    return woken == WAIT_TIMEOUT && GetLastError() == ERROR_OPERATION_ABORTED ? A2D_CHILD_QUIET : A2D_CHILD_EOF;
}

static long read_pipe(a2d_child *child, a2d_pipe *pipe, void *to, size_t length, DWORD timeout_ms) {
    OVERLAPPED operation = {.hEvent = pipe->event};
    DWORD most = length < PIPE_BYTES ? (DWORD)length : PIPE_BYTES;
    if (WaitForSingleObject(child->hangup, 0) == WAIT_OBJECT_0)
        return A2D_CHILD_EOF;
    ResetEvent(pipe->event);
    return outcome(child, pipe, &operation, ReadFile(pipe->ours, to, most, NULL, &operation), timeout_ms);
}

long a2d_child_read(a2d_child *child, void *to, size_t length, uint32_t timeout_ms) {
    return read_pipe(child, &child->out, to, length, timeout_ms);
}

long a2d_child_listen(a2d_child *child, void *to, size_t length) {
    long got;
    do
        got = read_pipe(child, &child->words, to, length, INFINITE);
    while (got == A2D_CHILD_QUIET); /* somebody wrote nothing */
    return got;
}

bool a2d_child_write(a2d_child *child, const void *from, size_t length) {
    const char *at = from;
    while (length > 0) {
        OVERLAPPED operation = {.hEvent = child->in.event};
        DWORD most = length < PIPE_BYTES ? (DWORD)length : PIPE_BYTES;
        if (WaitForSingleObject(child->hangup, 0) == WAIT_OBJECT_0)
            return false;
        ResetEvent(child->in.event);
        BOOL begun = WriteFile(child->in.ours, at, most, NULL, &operation);
        long sent = outcome(child, &child->in, &operation, begun, INFINITE);
        if (sent <= 0)
            return false;
        at += sent;
        length -= (size_t)sent;
    }
    return true;
}

void a2d_child_hang_up(a2d_child *child) { SetEvent(child->hangup); }

bool a2d_child_ended(a2d_child *child, uint32_t timeout_ms) {
    return WaitForSingleObject(child->process, timeout_ms) == WAIT_OBJECT_0;
}

void a2d_child_kill(a2d_child *child) {
    TerminateJobObject(child->job, 9);
    TerminateProcess(child->process, 9); /* where it could not be put into a job; a dead one is not changed */
    if (a2d_child_ended(child, KILLED_IN))
        GetExitCodeProcess(child->process, &child->status);
}

void a2d_child_fate(const a2d_child *child, char *to, size_t size) {
    if (child->status == STILL_ACTIVE)
        snprintf(to, size, "does not end");
    else
        snprintf(to, size, "exited with status %lu", (unsigned long)child->status);
}

void a2d_child_close(a2d_child *child) {
    a2d_pipe *pipes[] = {&child->in, &child->out, &child->words};
    for (int i = 0; i < 3; i++) {
        close_handle(&pipes[i]->ours);
        close_handle(&pipes[i]->event);
    }
    close_handle(&child->process);
    close_handle(&child->job);
    close_handle(&child->hangup);
}
