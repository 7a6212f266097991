module weir.example/plugin

go 1.23
