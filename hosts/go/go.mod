module github.com/tykbridge/tykbridge/hosts/go

go 1.19
