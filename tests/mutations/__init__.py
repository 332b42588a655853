"""Mutations: mistakes put into a copy of the course on purpose, to see whether the tests notice.

`errata` are the wrong lines of code of the original notebooks; `variants` breaks the functions of
`checks`; `guards` says which tests have to notice; `equivalent` lists what cannot be noticed.
"""
