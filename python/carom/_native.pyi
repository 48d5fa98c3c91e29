from carom.library import FFI, Library

ffi: FFI
lib: Library
