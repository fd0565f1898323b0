module example.test/get

go 1.21
