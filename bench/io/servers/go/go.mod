module fiber/bench/io

go 1.19
