module deja

go 1.21
